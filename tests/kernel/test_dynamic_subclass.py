from __future__ import annotations

import asyncio

import pytest

import koboshi as kb


class Session(kb.Actor):
    def __init__(self, fail: bool) -> None:
        self.fail = fail

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        if self.fail:
            raise ValueError("no session")


class Sessions(kb.DynamicSupervisor):
    @kb.message
    async def open(self, fail: bool) -> str:
        try:
            ref = await self.start_child(kb.child(Session, fail))
        except kb.StartError:
            return "failed"
        return kb.info(ref).state


async def test_a_handler_of_a_subclass_that_starts_a_child_waits_for_it_and_gives_its_own_reply() -> None:
    async with kb.Supervisor(kb.child(Sessions)) as tree:
        sessions = tree.ref(Sessions, "Sessions")
        assert await sessions.call(Sessions.open, False) == "idle"
        assert await sessions.call(Sessions.open, True) == "failed"
        assert (await sessions.call(Sessions.count_children)).specs == 1
        assert (await sessions.call(Sessions.start_child, kb.child(Session, False))).alive
        with pytest.raises(kb.StartError):
            await sessions.call(Sessions.start_child, kb.child(Session, True))
