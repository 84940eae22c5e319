"""What tasks run in these tests; importable by worker nodes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import koboshi as kb

T = TypeVar("T")


async def double(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


def triple(n: int) -> int:
    return 3 * n


async def fail(text: str = "bad") -> int:
    raise ValueError(text)


async def forever() -> int:
    await asyncio.Event().wait()
    return 0


async def pid() -> int:
    return os.getpid()


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
