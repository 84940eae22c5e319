"""`ref.stop()`: asks, waits until the actor is gone, and tells how it really ended."""

from __future__ import annotations

import asyncio

import pytest
from tests.virtual import run_virtual

import koboshi as kb


class Worker(kb.Actor):
    """Works for as long as it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @kb.message
    def double(self, n: int) -> int:
        self.done.append(f"double {n}")
        return 2 * n

    @kb.message
    def crash(self, text: str) -> int:
        raise ValueError(text)

    @kb.message
    async def sleep(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.done.append(f"slept {seconds:g}")
        return "woke"


async def test_stop_waits_until_the_actor_is_gone_and_after_the_mail_that_it_has() -> None:
    worker = await kb.start(Worker)
    actor: Worker = worker._cell.actor
    worker.cast(Worker.double, 1)

    await worker.stop()

    assert ["double 1"] == actor.done
    assert not worker.alive
    assert kb.Normal() == await worker.wait_exit()


async def test_stop_of_a_dead_actor_says_noproc() -> None:
    worker = await kb.start(Worker)
    await worker.stop()

    with pytest.raises(kb.ActorExited) as caught:
        await worker.stop()

    assert kb.NoProc() == caught.value.reason


async def test_stop_raises_the_real_reason_when_it_is_another_than_asked() -> None:
    worker = await kb.start(Worker)
    worker.cast(Worker.crash, "first")

    with pytest.raises(kb.ActorExited) as caught:
        await worker.stop(kb.Shutdown())

    assert kb.Crashed(ValueError("first")) == caught.value.reason


def test_stop_that_takes_too_long_says_so_and_still_stands() -> None:
    async def main() -> None:
        worker = await kb.start(Worker)
        worker.cast(Worker.sleep, 3.0)

        with pytest.raises(kb.CallTimeout):
            await worker.stop(timeout=1.0)
        assert worker.alive

        assert kb.Normal() == await worker.wait_exit()

    run_virtual(main)
