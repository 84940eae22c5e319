from __future__ import annotations

import asyncio
from typing import Any

import koboshi as kb


async def test_a_receive_that_is_cancelled_as_its_message_arrives_leaves_it_in_the_mailbox() -> None:
    begun = asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []
    got: list[Any] = []

    async def process() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        begun.set()
        try:
            await kb.receive(int)
        except asyncio.CancelledError:
            task.uncancel()
        got.extend([await kb.receive(timeout=0) for _ in range(4)])

    ref = kb.spawn(process)
    await begun.wait()
    for message in ("before", 1, "after"):
        ref.tell(message)
    tasks[0].cancel()
    assert await ref.wait_exit(1) == kb.Normal()
    assert got == ["before", 1, "after", kb.Timeout()]
