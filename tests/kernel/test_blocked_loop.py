"""What deadlines mean while a handler holds the loop and no timer can fire."""

from __future__ import annotations

import time

import pytest

import koboshi as kb


class Blocking(kb.Actor):
    def __init__(self) -> None:
        self.ran = 0

    @kb.message
    def hold(self, until: float) -> None:
        while time.monotonic() < until:
            pass

    @kb.message
    def run(self) -> int:
        self.ran += 1
        return self.ran


async def test_a_call_whose_deadline_passed_while_the_loop_was_held_up_is_not_executed() -> None:
    ref = await kb.start(Blocking)
    ref.cast(Blocking.hold, time.monotonic() + 0.08)
    with pytest.raises(kb.CallTimeout) as caught:
        await ref.within(0.02).call(Blocking.run)

    assert not caught.value.maybe_executed
    assert 1 == await ref.call(Blocking.run)
