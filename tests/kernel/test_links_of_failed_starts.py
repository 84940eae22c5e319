from __future__ import annotations

import asyncio

import pytest

import koboshi as kb


class Hanging(kb.Actor):
    def __init__(self, up: asyncio.Future[kb.ActorRef[Hanging]]) -> None:
        self.up = up

    async def on_start(self) -> None:
        self.up.set_result(self.me)
        await asyncio.Event().wait()


class Failing(kb.Actor):
    def __init__(self, peer: kb.ActorRef[kb.Process]) -> None:
        self.peer = peer

    def on_start(self) -> None:
        kb.link(self.peer)
        raise ValueError("no start")


async def test_a_trapping_starter_of_a_child_that_is_ended_in_its_start_gets_the_error_and_no_exit() -> None:
    up: asyncio.Future[kb.ActorRef[Hanging]] = asyncio.get_running_loop().create_future()

    async def starter() -> object:
        kb.trap_exits()
        with pytest.raises(kb.StartError):
            await kb.start_link(Hanging, up)
        assert await kb.receive(timeout=0) == kb.Timeout()

    ref = kb.spawn(starter)
    (await up).exit(kb.Exited("hit"))
    assert await ref.wait_exit(1) == kb.Normal()


async def test_a_failed_start_ends_those_it_has_linked_itself_to() -> None:
    async def wait() -> None:
        await kb.receive()

    peer = kb.spawn(wait)
    with pytest.raises(kb.StartError):
        await kb.start(Failing, peer)
    assert await peer.wait_exit(1) == kb.Crashed(ValueError("no start"))
