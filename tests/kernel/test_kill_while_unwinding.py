from __future__ import annotations

import asyncio

import koboshi as kb


class Killer(kb.Actor):
    @kb.message
    def kill(self, ref: kb.ActorRef[kb.Process]) -> None:
        ref.kill()


async def test_a_kill_that_a_process_meets_while_it_unwinds_ends_it() -> None:
    killer = await kb.start(Killer)

    async def by_itself(ready: asyncio.Event) -> None:
        try:
            ready.set()
            await asyncio.Event().wait()
        finally:
            kb.me().kill()
            await asyncio.Event().wait()

    async def by_another(ready: asyncio.Event) -> None:
        try:
            ready.set()
            await kb.receive()
        finally:
            await killer.call(Killer.kill, kb.me())
            await asyncio.Event().wait()

    async def by_itself_at_once(ready: asyncio.Event) -> None:
        try:
            ready.set()
            await kb.receive()
        finally:
            kb.me().kill()
            await asyncio.Event().wait()

    for body in (by_itself, by_another, by_itself_at_once):
        ready = asyncio.Event()
        ref = kb.spawn(body, ready)
        await ready.wait()
        ref.exit(kb.Shutdown())
        assert await ref.wait_exit(1) == kb.Killed()
    await killer.stop()
