"""A queue against a model that fits on a page: what is put, claimed, ended, cancelled and forgotten, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.durable.tasks.conftest import Clock
from tests.durable.tasks.desk import NAME, Desk

from koboshi.durable.stores import MemoryEngine, Store
from koboshi.durable.tasks import _counters
from koboshi.durable.tasks._claim import Claimed

T = TypeVar("T")

KEEP = 50.0
ids = st.sampled_from("abcdef")
keys = st.sampled_from(["x", "y", None])


@dataclass
class Row:
    """What the model knows of one task."""

    state: str
    priority: int
    order: tuple[float, int]
    unique: str | None = None
    attempts: int = 0
    until: float = 0.0
    claim: Claimed | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "dead", "cancelled")


class QueueMachine(RuleBasedStateMachine):
    """The rules do the same to the store and to `rows`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.rows: dict[str, Row] = {}
        self.puts = 0
        self.paused = False
        # Claims that were ended or lost: whoever holds them may try again at any time.
        self.stale: list[Claimed] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        async def opened() -> Store:
            store = Store(MemoryEngine("machine", clock=self.clock))
            await store.open()
            return store

        self.desk = Desk(self.do(opened()))

    def teardown(self) -> None:
        self.do(self.desk.store.close())
        self.loop.close()

    @property
    def held(self) -> list[str]:
        return sorted(id for id, row in self.rows.items() if row.state == "claimed")

    def tick(self) -> None:
        """No two tasks are due at the same moment: between two such, the order would be open."""
        self.clock.advance(0.001)

    def promote(self) -> None:
        for row in self.rows.values():
            if row.state == "later" and row.order[0] <= self.clock.now:
                row.state = "ready"

    # -- rules -------------------------------------------------------------------------------------

    @rule(id=ids, priority=st.integers(-1, 1), delay=st.sampled_from([None, 10.0]), key=keys)
    def put(self, id: str, priority: int, delay: float | None, key: str | None) -> None:
        self.tick()
        self.puts += 1
        options: dict[str, Any] = {"priority": priority, "delay": delay}
        # An id and a key exclude each other: with a key the id is a new one.
        options |= {"id": id} if key is None else {"unique": key}
        there = next(
            (id for id, row in self.rows.items() if key and row.unique == key and not row.ended), None
        )
        if key is None and id in self.rows:
            there = id

        found, new = self.do(self.desk.put(**options))

        assert new == (there is None)
        assert there in (None, found)
        if new:
            due = self.clock.now + (delay or 0.0)
            self.rows[found] = Row("later" if delay else "ready", priority, (due, self.puts), key)

    @rule(most=st.integers(1, 4))
    def claim(self, most: int) -> None:
        claims = self.do(self.desk.claims(most))

        expected: list[str] = []
        if not self.paused:
            self.promote()
            ready = [(-row.priority, *row.order, id) for id, row in self.rows.items() if row.state == "ready"]
            expected = [each[-1] for each in sorted(ready)][:most]
        assert claims.paused == self.paused
        assert expected == [each.id for each in claims.claimed]
        for each in claims.claimed:
            row = self.rows[each.id]
            row.state, row.attempts, row.claim = "claimed", row.attempts + 1, each
            assert (row.attempts, row.unique) == (each.attempt, each.unique)

    def take(self, data: st.DataObject) -> tuple[Row, Claimed]:
        row = self.rows[data.draw(st.sampled_from(self.held))]
        assert row.claim is not None
        self.stale.append(row.claim)
        return row, row.claim

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        row, claimed = self.take(data)

        assert self.do(self.desk.settle(claimed, keep=KEEP))
        row.state, row.until = "done", self.clock.now + KEEP

    @precondition(lambda self: self.held)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 10.0]))
    def fail(self, data: st.DataObject, delay: float) -> None:
        self.tick()
        row, claimed = self.take(data)

        assert self.do(self.desk.settle(claimed, "retry", delay=delay, report="odd"))
        row.state = "later" if delay else "ready"
        row.order = (self.clock.now + delay, row.order[1]) if delay else row.order

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        row, claimed = self.take(data)

        assert self.do(self.desk.settle(claimed, "release"))
        row.state, row.attempts = "ready", row.attempts - 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        row, claimed = self.take(data)

        assert self.do(self.desk.settle(claimed, "dead", report="odd"))
        row.state = "dead"

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), kind=st.sampled_from(["retry", "release", "dead"]))
    def settle_too_late(self, data: st.DataObject, kind: str) -> None:
        claimed = data.draw(st.sampled_from(self.stale))
        row = self.rows.get(claimed.id)
        before = self.do(self.desk.info(claimed.id))
        if row is not None and row.claim is claimed and row.state in ("ready", "later", "dead"):
            return  # it says again what it has said

        assert not self.do(self.desk.settle(claimed, kind))
        assert before == self.do(self.desk.info(claimed.id))

    @rule(id=ids)
    def cancel(self, id: str) -> None:
        row = self.rows.get(id)
        open_ = row is not None and not row.ended

        assert open_ == self.do(self.desk.cancel(id, KEEP))
        if row is not None and open_:
            if row.claim is not None:
                self.stale.append(row.claim)
            row.state, row.until = "cancelled", self.clock.now + KEEP

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        self.tick()
        dead = sorted(id for id, row in self.rows.items() if row.state == "dead")
        id = data.draw(st.sampled_from(dead or sorted(self.rows)))
        row = self.rows[id]

        assert int(bool(dead)) == self.do(self.desk.requeue(id))
        if dead:
            row.state, row.attempts, row.unique = "ready", 0, None
            row.order = (self.clock.now, 0)

    @rule()
    def lose_the_program(self) -> None:
        lost = self.held

        assert len(lost) == self.do(self.desk.recover(own=True))
        for id in lost:
            row = self.rows[id]
            assert row.claim is not None
            self.stale.append(row.claim)
            row.state, row.attempts = "ready", row.attempts - 1

    @rule()
    def purge(self) -> None:
        over = [
            id
            for id, row in self.rows.items()
            if row.state in ("done", "cancelled") and row.until <= self.clock.now
        ]

        assert len(over) == self.do(self.desk.purge())
        for id in over:
            del self.rows[id]

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        name = _counters.paused_name(NAME)
        self.do(self.desk.store.change(lambda session: _counters.write(session, name, int(paused))))
        self.paused = paused

    @rule(seconds=st.sampled_from([0.5, 10.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # -- what always holds -------------------------------------------------------------------------

    @invariant()
    def every_task_is_as_the_model_has_it(self) -> None:
        for id, row in self.rows.items():
            found = self.do(self.desk.info(id))
            assert found is not None
            assert (row.state, row.attempts) == (found.state, found.attempts)


QueueMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase
