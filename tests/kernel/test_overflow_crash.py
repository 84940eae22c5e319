from __future__ import annotations

import asyncio

import koboshi as kb


class Slow(kb.Actor):
    @kb.message
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @kb.message
    def answer(self) -> int:
        return 1


async def test_every_call_hears_at_once_of_the_crash_of_an_overflowing_mailbox() -> None:
    spec = kb.child(Slow).options(mailbox=1, overflow="crash", restart="temporary")
    async with kb.Supervisor(spec) as tree:
        slow = tree.ref(Slow, Slow.__name__).within(1)
        calls = [slow.call(Slow.hang), *(slow.call(Slow.answer) for _ in range(4))]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, kb.ActorExited) for error in errors), errors
    reasons = {error.reason for error in errors if isinstance(error, kb.ActorExited)}
    assert all(
        isinstance(reason, kb.Crashed) and isinstance(reason.error, kb.MailboxFull) for reason in reasons
    )
