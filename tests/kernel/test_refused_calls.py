from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import koboshi as kb
from koboshi._kernel._node import this_node


class Busy(kb.Actor):
    @kb.message
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @kb.message
    def answer(self) -> int:
        return 1


@asynccontextmanager
async def full() -> AsyncIterator[kb.ActorRef[Busy]]:
    async with kb.Supervisor(kb.child(Busy).options(mailbox=1, shutdown="kill")) as tree:
        busy = tree.ref(Busy, Busy.__name__)
        busy.suspend()
        busy.cast(Busy.answer)
        yield busy


async def test_a_call_that_a_full_mailbox_refused_is_kept_by_nobody() -> None:
    async with full() as busy:
        before = len(this_node().deadlines)
        for _ in range(300):
            with pytest.raises(kb.MailboxFull):
                await busy.within(3600).call(Busy.answer)
            with pytest.raises(kb.MailboxFull):
                await busy.within(None).ask(lambda reply: reply)
        assert len(this_node().deadlines) == before
        bonds = busy._cell.bonds
        assert bonds is not None
        assert not bonds.owed


async def test_senders_that_gave_up_waiting_for_room_are_not_kept() -> None:
    async with full() as busy:
        for _ in range(300):
            with pytest.raises(kb.CallTimeout):
                await busy.within(0).send(Busy.answer)
        traits = busy._cell.traits
        assert traits is not None
        assert len(traits.room or ()) <= 64
