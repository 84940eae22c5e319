"""The seam for schedulers of tests: another queue decides on the order, and waiting cells are kept."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import koboshi as kb
from koboshi._kernel._node import this_node

if TYPE_CHECKING:
    from koboshi._kernel._cell import Cell


class LastFirst(deque["Cell"]):
    def popleft(self) -> Cell:
        return self.pop()


async def test_another_queue_decides_whose_turn_is_next_and_takes_over_who_waits() -> None:
    order: list[int] = []

    class Noted(kb.Actor):
        @kb.message
        def note(self, number: int) -> None:
            order.append(number)

    refs = [await kb.start(Noted) for _ in range(3)]
    for number, ref in enumerate(refs):
        ref.cast(Noted.note, number)
    this_node().schedule_by(LastFirst(), monotonic, messages_per_turn=1, inline_calls=0)
    for ref in refs:
        await ref.stop()

    assert [2, 1, 0] == order
