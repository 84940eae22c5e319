from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import VirtualLoop, run_virtual

import koboshi as kb


class Callee(kb.Actor):
    @kb.message
    def keep(self) -> None:
        self.later = kb.defer()

    @kb.message
    def crash(self) -> None:
        raise ValueError("crashed")

    @kb.message
    def end(self) -> None:
        self.stop()

    @kb.message
    def answer(self) -> int:
        return 1


class Late(kb.Actor):
    """Holds the loop past its caller's deadline, and calls somebody then."""

    def __init__(self, callee: kb.ActorRef[Callee]) -> None:
        self.callee = callee

    @kb.message
    async def go(self, message: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.now += 0.03
        with pytest.raises(kb.CallTimeout):
            await self.callee.call(message)


async def late_call(message: Any) -> kb.ActorRef[Callee]:
    callee = await kb.start(Callee)
    late = await kb.start(Late, callee)
    await late.within(0.01).call(Late.go, message)
    return callee


def test_a_callee_that_defers_past_the_deadline_of_its_callers_caller_stays_usable() -> None:
    async def main() -> None:
        callee = await late_call(Callee.keep)
        assert 1 == await callee.call(Callee.answer)
        await callee.stop()

    run_virtual(main)


@pytest.mark.parametrize("message", [Callee.crash, Callee.end])
def test_a_callee_that_ends_past_the_deadline_of_its_callers_caller_is_gone(message: Any) -> None:
    async def main() -> None:
        callee = await late_call(message)
        assert await callee.wait_exit(1) is not None

    run_virtual(main)
