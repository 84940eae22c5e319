"""Any mix of going, postponing, inserting and zero timeouts, beside a small model of gen_statem's queue."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.otp.statemachine.machines import Recorder
from tests.virtual import run_virtual

import koboshi as kb

STATES = st.sampled_from(["A", "B"])


def actions(depth: int) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """What one handler asks for; an inserted event has actions of its own."""
    one = st.one_of(
        st.tuples(st.just("go"), STATES),
        st.tuples(st.just("postpone_in"), STATES),
        st.tuples(st.just("timeout"), st.sampled_from(["t", "u"]), st.just(0), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.sampled_from(["t", "u"])),
    )
    if depth:
        inserted = actions(depth - 1).map(lambda inner: ("insert", "inserted", *inner))
        one = st.one_of(one, inserted)
    return st.lists(one, max_size=3).map(without_circles)


def without_circles(asked: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """An event that is postponed and goes somewhere, or inserts one that does, would be retried for ever."""
    if any(what == "postpone_in" for what, *_ in asked):
        return without_going(asked)
    return asked


def without_going(asked: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same without any change of state, in inserted events as well."""
    return [
        ("insert", each[1], *without_going(list(each[2:]))) if each[0] == "insert" else each
        for each in asked
        if each[0] != "go"
    ]


class Model:
    """The machine in thirty lines: a queue, what is postponed, and which timeouts are set."""

    def __init__(self) -> None:
        self.state = "A"
        self.seen: list[tuple[str, Any]] = [("A", "enter from A")]
        self.queue: list[tuple[Any, ...]] = []
        self.postponed: list[tuple[Any, ...]] = []
        self.set: dict[str, int] = {}
        self.numbers = 0

    def take(self, event: tuple[Any, ...]) -> None:
        self.handle(event)
        while self.queue:
            self.handle(self.queue.pop(0))

    def handle(self, event: tuple[Any, ...]) -> None:
        if event[0] == "ended":
            _, name, number, payload = event
            if self.set.get(name) == number:
                del self.set[name]
                self.seen.append((self.state, (name, payload)))
            return
        name, *asked = event
        self.seen.append((self.state, name))
        target, inserted, ended = self.state, list[Any](), list[Any]()
        postpones = False
        for what, *args in asked:
            if what == "go":
                target = args[0]
            elif what == "postpone_in" and args[0] == self.state:
                postpones = True
            elif what == "insert":
                inserted.append(tuple(args))
            elif what == "timeout":
                self.numbers += 1
                self.set[args[0]] = self.numbers
                ended.append(("ended", args[0], self.numbers, args[2]))
            elif what == "cancel":
                self.set.pop(args[0], None)
        if postpones:  # once, however often it is asked for
            self.postponed.append(event)
        if target != self.state:
            old, self.state = self.state, target
            self.seen.append((self.state, f"enter from {old}"))
            self.queue[:0], self.postponed = self.postponed, []
        self.queue[:0] = inserted
        self.queue += ended


@settings(max_examples=300)
@given(st.lists(actions(2), max_size=6))
def test_events_are_handled_in_the_order_of_gen_statem(scripts: list[list[tuple[Any, ...]]]) -> None:
    async def main() -> list[tuple[str, Any]]:
        ref = await kb.start(Recorder)
        for number, script in enumerate(scripts):
            ref.cast(Recorder.do, f"event {number}", *script)
        seen = list(await ref.call(Recorder.told))
        await ref.stop()
        return seen

    model = Model()
    for number, script in enumerate(scripts):
        model.take((f"event {number}", *script))

    assert model.seen == run_virtual(main)
