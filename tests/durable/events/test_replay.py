"""Replaying the events gives the same state, whatever snapshots there are; no revision is left out."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import koboshi as kb

from .carts import Added, Cart, CartState, Cleared

_numbers = itertools.count()

FORGET = "UPDATE kb_actor SET state = NULL, state_revision = 0"

one = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 9)),
    st.tuples(st.just("many"), st.integers(0, 4)),
    st.just(("clear", 0)),
    st.just(("refuse", 0)),
    st.just(("sleep", 0)),
    st.just(("forget", 0)),
)


async def play(steps: list[tuple[str, int]], every: int) -> None:
    """Do what the steps say beside a fold by hand."""
    carts = kb.durable(Cart, store=f"memory://{next(_numbers)}", snapshot_every_events=every)
    ref = carts["x"]
    events: list[Any] = []
    async with kb.Supervisor(carts.child()):
        kind = carts._definition.running("a test")
        for what, n in steps:
            if what == "add" and len(events) < 40:
                await ref.call(Cart.add, "i", n)
                events.append(Added("i", n))
            elif what == "many" and n:
                await ref.call(Cart.add_all, ["m"] * n)
                events += [Added("m", 1)] * n
            elif what == "clear":
                await ref.call(Cart.clear)
                events.append(Cleared())
            elif what == "refuse":
                try:
                    await ref.call(Cart.refuse)
                except kb.Refused:
                    pass
            elif what == "sleep" and "x" in kind.active:
                kind.deactivate(kind.active["x"])
            elif what == "forget":
                # Nobody is told; whoever wakes it reads its events.
                await kind.store.change(lambda session: session.execute(FORGET, {}))
                if "x" in kind.active:
                    kind.deactivate(kind.active["x"])
            assert folded(events) == await ref.call(Cart.look)
        for revision in range(len(events) + 1):
            assert folded(events[:revision]) == await ref.as_of(revision)
        text = "SELECT seq FROM kb_event ORDER BY seq"
        seqs: Any = await kind.store.read(lambda session: session.execute(text, {}))
        assert list(range(1, len(events) + 1)) == [row[0] for row in seqs]
        assert events == [each.event for each in await ref.history(limit=1_000)]


def folded(events: list[Any]) -> CartState:
    """What the events make of an empty cart."""
    state = CartState()
    for event in events:
        state = Cart.added(state, event) if isinstance(event, Added) else Cart.cleared(state, event)
    return state


@settings(max_examples=60, deadline=None)
@given(st.lists(one, max_size=25), st.integers(1, 7))
def test_a_state_is_the_fold_of_its_events_whatever_becomes_of_snapshots(
    steps: list[tuple[str, int]], every: int
) -> None:
    asyncio.run(play(steps, every))


async def test_a_long_log_is_read_in_whole_when_there_is_no_snapshot(store: str) -> None:
    carts = kb.durable(Cart, store=store, snapshot_every_events=10_000)
    async with kb.Supervisor(carts.child()):
        for _ in range(3):
            await carts["x"].call(Cart.add_all, ["i"] * 500)
        kind = carts._definition.running("a test")
        kind.deactivate(kind.active["x"])
        assert (await carts["x"].call(Cart.look)).cents == 1_500


async def test_snapshots_are_stored_every_so_many_events(store: str) -> None:
    carts = kb.durable(Cart, store=store, snapshot_every_events=10)
    async with kb.Supervisor(carts.child()):
        kind = carts._definition.running("a test")
        found: list[int] = []
        for _ in range(25):
            await carts["x"].call(Cart.add, "i", 1)
            rows: Any = await kind.store.read(
                lambda session: session.execute("SELECT revision - state_revision FROM kb_actor", {})
            )
            found.append(rows[0][0])
        assert max(found) == 9
        assert found.count(0) == 2


async def test_tags_of_a_turn_without_a_snapshot_are_there_after_waking(store: str) -> None:
    carts = kb.durable(Cart, store=store)
    async with kb.Supervisor(carts.child()):
        await carts["x"].call(Cart.label, "city", "Oslo")
        assert await carts.where(city="Oslo") == ["x"]
        kind = carts._definition.running("a test")
        kind.deactivate(kind.active["x"])
        await carts["x"].call(Cart.add, "tea", 1)
        assert kind.active["x"].tags == {"city": "Oslo"}
