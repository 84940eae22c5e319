from __future__ import annotations

from typing import Any

import pytest

import koboshi as kb


class Router(kb.Actor):
    def __init__(self) -> None:
        self.to: kb.ActorRef[Asker] | None = None

    @kb.message
    def route(self, to: kb.ActorRef[Asker]) -> None:
        self.to = to

    @kb.message
    def find(self) -> int:
        assert self.to is not None
        return self.to.forward(Asker.found)

    @kb.message
    async def find_later(self) -> int:
        assert self.to is not None
        return self.to.forward(Asker.found)


class Asker(kb.Actor):
    @kb.message
    def found(self) -> int:
        return 1

    @kb.message
    async def ask(self, router: kb.ActorRef[Router], message: Any) -> tuple[str, ...]:
        try:
            await router.within(1).call(message)
        except kb.CallCycle as cycle:
            return cycle.path
        return ()


@pytest.mark.parametrize("message", [Router.find, Router.find_later])
async def test_a_call_that_is_forwarded_to_its_own_caller_is_refused(message: Any) -> None:
    router, asker = await kb.start(Router), await kb.start(Asker)
    await router.call(Router.route, asker)
    path = await asker.call(Asker.ask, router, message)
    assert path == (kb.info(asker).label, kb.info(asker).label)
    assert router.alive
    for ref in (router, asker):
        await ref.stop()
