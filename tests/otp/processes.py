"""Code that is to run in a process, from tests that run in none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import koboshi as kb

T = TypeVar("T")


async def inside(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in a bare process; its value, or what it died of as `ActorExited`."""
    values: list[T] = []

    async def process() -> None:
        values.append(await main())

    ref = kb.spawn(process)
    reason = await ref.wait_exit()
    if not values:
        assert reason is not None
        raise kb.ActorExited("process", "its value", reason, maybe_executed=True)
    return values[0]
