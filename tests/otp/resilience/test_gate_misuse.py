"""What a gate refuses to go round."""

from __future__ import annotations

import pytest

import koboshi as kb
from koboshi import otp


async def test_a_function_that_is_not_async_is_refused_by_name() -> None:
    with pytest.raises(
        kb.UsageError, match=r"shop goes round async functions; <built-in function len> is none"
    ):
        await otp.Bulkhead("shop", limit=1).call(len, "abc")  # type: ignore[arg-type]
