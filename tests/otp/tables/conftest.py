"""Tests of tables run as plain asyncio code; `public` gives them tables that all code may use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.otp.tables.rig import Owner

import koboshi as kb
from koboshi import otp

Make = Callable[..., Awaitable[Any]]


@pytest.fixture
async def public() -> AsyncIterator[Make]:
    """Makes public tables, all owned by one process that ends with the test."""
    owner = await kb.start(Owner)

    async def make(name: str = "rows", **options: Any) -> otp.Table[Any]:
        made: otp.Table[Any] = await owner.call(
            Owner.run, lambda: otp.Table[Any](name, **{"access": "public", **options})
        )
        return made

    yield make
    if owner.alive:
        await owner.stop()
