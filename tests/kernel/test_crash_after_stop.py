from __future__ import annotations

from typing import Any

import pytest

import koboshi as kb


class Victim(kb.Actor):
    @kb.message
    def plain(self) -> None:
        self.stop()
        raise ValueError("after stop")

    @kb.message
    async def coroutine(self) -> None:
        self.stop()
        raise ValueError("after stop")


@pytest.mark.parametrize("message", [Victim.plain, Victim.coroutine])
@pytest.mark.parametrize("queued", [False, True])
async def test_a_handler_that_raises_after_asking_for_its_end_crashes_its_actor(
    message: Any, queued: bool
) -> None:
    victim = await kb.start(Victim)
    if queued:
        victim.suspend()
        victim.cast(message)
        victim.resume()
    else:
        with pytest.raises(kb.ActorExited):
            await victim.within(1).call(message)
    assert await victim.wait_exit(1) == kb.Crashed(ValueError("after stop"))
