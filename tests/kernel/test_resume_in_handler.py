from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import koboshi as kb


class Pausing(kb.Actor):
    def __init__(self) -> None:
        self.inside = 0

    @kb.message
    def pause(self) -> Coroutine[Any, Any, int]:
        self.me.suspend()
        self.me.resume()
        return self.work()

    async def work(self) -> int:
        self.inside += 1
        most = self.inside
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.inside -= 1
        return most

    @kb.message
    def look(self) -> int:
        return self.inside


async def test_an_actor_that_suspends_and_resumes_itself_is_not_entered_twice() -> None:
    pausing = await kb.start(Pausing)
    pausing.cast(Pausing.look)  # so that the next message goes through the run queue
    assert await pausing.within(1).call(Pausing.pause) == 1
    assert await pausing.within(1).call(Pausing.look) == 0
    await pausing.stop()
