"""How a store makes groups: few operations share one, many are two that take turns; and how quickly threads do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from koboshi.durable.stores import Change, Operation, Outcome, Query
from koboshi.durable.stores._sqlite_engine import SqliteEngine
from koboshi.durable.stores._store import Store
from koboshi.durable.stores._switching import QUICK, begin_quick_turns, end_quick_turns

MANY = 400


class ByHand:
    """An engine whose groups are committed when the test says so."""

    url = "by hand"

    def __init__(self) -> None:
        self.groups: list[Sequence[Operation[Any]]] = []
        self.most_in_hand = self.in_hand = 0
        self._done: Callable[[list[Outcome]], None] | None = None
        self.commits_at_once = True

    async def open(self, host: str) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def commit(self, operations: Sequence[Operation[Any]], done: Callable[[list[Outcome]], None]) -> None:
        self.in_hand += 1
        self.most_in_hand = max(self.most_in_hand, self.in_hand)
        self.groups.append(operations)
        self._done = done
        if self.commits_at_once:
            asyncio.get_running_loop().call_soon(self.tell)

    def tell(self) -> None:
        """The group in hand is committed."""
        assert self._done is not None
        done, self._done = self._done, None
        self.in_hand -= 1
        # What the lease asks for is who else is there.
        done([Outcome([], None) for _ in self.groups[-1]])

    def lost_hosts(self, hosts: Sequence[tuple[str, str]]) -> list[str]:
        return []

    async def absent_hosts(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        return []


async def opened(engine: ByHand) -> Store:
    store = Store(engine)
    await store.open()
    await asyncio.sleep(0)  # what the lease was told of is over
    engine.groups.clear()
    engine.commits_at_once = False
    return store


async def closed(store: Store, engine: ByHand) -> None:
    engine.commits_at_once = True
    if engine.in_hand:
        engine.tell()
    await store.close()


class Asking:
    """Callers that ask again as soon as they are told."""

    def __init__(self, store: Store, callers: int) -> None:
        self._store = store
        self.told: list[int] = []
        for caller in range(callers):
            self.ask(caller)

    def ask(self, caller: int) -> None:
        def done(_: object, error: Exception | None) -> None:
            assert error is None
            self.told.append(caller)
            self.ask(caller)

        self._store.submit(Change(lambda _: caller), done)


async def test_few_operations_are_one_group() -> None:
    engine = ByHand()
    store = await opened(engine)
    Asking(store, 20)
    for _ in range(3):
        engine.tell()
        await asyncio.sleep(0)

    assert [1, 20, 20, 20] == [len(each) for each in engine.groups]
    await closed(store, engine)


async def test_many_are_two_groups_and_the_next_is_under_way_before_anybody_is_told() -> None:
    engine = ByHand()
    store = await opened(engine)
    asking = Asking(store, MANY)
    engine.tell()
    for _ in range(6):
        await asyncio.sleep(0)
        before = len(asking.told)
        handed = len(engine.groups)

        engine.tell()

        assert len(engine.groups) == handed + 1
        assert before < len(asking.told)
    assert [MANY // 2] * 4 == [len(each) for each in engine.groups[-4:]]
    assert 1 == engine.most_in_hand
    await closed(store, engine)


async def test_a_change_is_told_of_when_its_own_group_is_committed() -> None:
    engine = ByHand()
    store = await opened(engine)

    def done(_: object, error: Exception | None) -> None:
        assert error is None

    for number in range(MANY):
        operation: Operation[Any] = (Change if number < MANY // 2 else Query)(lambda _: None)
        store.submit(operation, done)
    engine.tell()  # the first one, alone
    changed = store.changed()
    assert [True] * 199 + [False] == [each.writes for each in engine.groups[-1]]

    engine.tell()
    assert changed.done()

    changed = store.changed()
    assert not any(each.writes for each in engine.groups[-1])
    store.submit(Change(lambda _: None), done)
    engine.tell()
    assert not changed.done()
    await closed(store, engine)


async def test_nobody_is_passed_by() -> None:
    engine = ByHand()
    store = await opened(engine)
    asking = Asking(store, MANY)
    for _ in range(9):
        engine.tell()
        await asyncio.sleep(0)

    told = [asking.told.count(caller) for caller in range(MANY)]
    assert max(told) - min(told) <= 1
    # In the order of asking, round after round.
    assert asking.told == [index % MANY for index in range(len(asking.told))]
    await closed(store, engine)


# -- turns of threads --------------------------------------------------------------------------------


@pytest.fixture
def usual() -> Iterator[float]:
    """The switch interval, and that it is there again afterwards."""
    found = sys.getswitchinterval()
    yield found
    now = sys.getswitchinterval()
    sys.setswitchinterval(found)
    assert found == pytest.approx(now)


async def test_a_writer_thread_gets_its_turn_quickly_while_a_group_is_in_hand(
    tmp_path: Path, usual: float
) -> None:
    store = Store(SqliteEngine(str(tmp_path / "app.db")))
    await store.open()

    assert pytest.approx(QUICK) == await store.change(lambda _: sys.getswitchinterval())
    await store.close()


async def test_two_stores_put_the_interval_back_once(tmp_path: Path, usual: float) -> None:
    stores = [Store(SqliteEngine(str(tmp_path / name))) for name in ("one.db", "two.db")]
    for store in stores:
        await store.open()
    found = await asyncio.gather(
        *(store.change(lambda _: sys.getswitchinterval()) for store in stores for _ in range(20))
    )

    assert {round(QUICK, 6)} == {round(each, 6) for each in found}
    for store in stores:
        await store.close()


def test_the_last_to_end_puts_back_what_the_first_has_found(usual: float) -> None:
    begin_quick_turns()
    begin_quick_turns()
    end_quick_turns()
    assert pytest.approx(QUICK) == sys.getswitchinterval()

    end_quick_turns()

    assert pytest.approx(usual) == sys.getswitchinterval()


def test_an_interval_that_somebody_else_has_set_meanwhile_stays(usual: float) -> None:
    begin_quick_turns()
    sys.setswitchinterval(0.02)
    end_quick_turns()

    assert pytest.approx(0.02) == sys.getswitchinterval()
    sys.setswitchinterval(usual)


def test_a_shorter_interval_stays(usual: float) -> None:
    sys.setswitchinterval(QUICK / 2)
    begin_quick_turns()
    assert pytest.approx(QUICK / 2) == sys.getswitchinterval()
    end_quick_turns()

    assert pytest.approx(QUICK / 2) == sys.getswitchinterval()
    sys.setswitchinterval(usual)
