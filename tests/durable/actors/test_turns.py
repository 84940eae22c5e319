"""A turn is recorded whole or not at all, and nothing of it is seen before it is recorded."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import koboshi as kb
from koboshi.durable.stores import SqliteEngine
from koboshi.testing import wait_idle

from .accounts import Account, Balance, Diary, Overdrawn, bank_of


def revision_in(file: Path, key: str) -> int | None:
    """What another process would read."""
    connection = sqlite3.connect(file)
    try:
        row = connection.execute("SELECT revision FROM kb_actor WHERE actor_key = ?", (key,)).fetchone()
    finally:
        connection.close()
    return None if row is None else int(row[0])


def test_a_durable_actor_needs_no_runtime_to_be_tested() -> None:
    account = Account()

    assert account.deposit(5) == 5
    assert account.state == Balance(5)


async def test_a_reply_leaves_after_its_turn_is_committed(url: str, file: Path) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()):
        for number in range(1, 20):
            await bank["a"].call(Account.deposit, 1)

            assert number == revision_in(file, "a")


async def test_the_state_is_there_again_when_the_kind_is_started_again(url: str) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
    async with kb.Supervisor(bank.child()):
        assert 5 == await bank["a"].call(Account.balance)


async def test_a_refused_turn_changes_nothing_and_the_actor_goes_on(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        with pytest.raises(Overdrawn):
            await bank["a"].call(Account.withdraw, 6)

        assert 5 == await bank["a"].call(Account.balance)
        assert 1 == bank.statistics().activated


async def test_a_turn_that_crashes_changes_nothing_and_the_next_message_wakes_the_actor(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        with pytest.raises(kb.ActorExited) as caught:
            await bank["a"].call(Account.break_after, 6)

        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.maybe_executed
        assert 5 == await bank["a"].call(Account.balance)
        assert 2 == bank.statistics().activated


async def test_a_state_that_is_changed_in_place_is_recorded_and_undone_as_well(store: str) -> None:
    diaries = kb.durable(Diary, store=store)

    async with kb.Supervisor(diaries.child()):
        assert 1 == await diaries["d"].call(Diary.add, "one")
        with pytest.raises(kb.Refused):
            await diaries["d"].call(Diary.add_and_refuse, "two")
        with pytest.raises(kb.ActorExited):
            await diaries["d"].call(Diary.add_and_break, "three")

        assert ["one"] == await diaries["d"].call(Diary.lines)


async def test_what_was_recorded_before_a_crash_in_the_same_tick_stays(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.balance)
        done = await asyncio.gather(
            bank["a"].call(Account.deposit, 1),
            bank["a"].call(Account.deposit, 2),
            bank["a"].call(Account.break_after, 100),
            bank["a"].call(Account.deposit, 4),
            return_exceptions=True,
        )

        assert [1, 3] == done[:2]
        assert isinstance(done[2], kb.ActorExited)
        # Its turn had not come: it was sent again, to the next activation.
        assert 7 == done[3]
        assert 7 == await bank["a"].call(Account.balance)


async def test_a_query_writes_nothing_and_may_not_change_anything(url: str, file: Path) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        assert 5 == await bank["a"].call(Account.balance)
        with pytest.raises(kb.ActorExited) as caught:
            await bank["a"].call(Account.wrong_query)

        assert isinstance(caught.value.__cause__, kb.UsageError)
        assert 1 == revision_in(file, "a")
        assert 5 == await bank["a"].call(Account.balance)


class Gate:
    """An engine that commits when it is told to."""

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self.url = engine.url
        self.open = engine.open
        self.close = engine.close
        self.lost_hosts = engine.lost_hosts
        self.held: list[Any] | None = None
        self.holding = asyncio.Event()

    def commit(self, operations: Any, done: Any) -> None:
        if self.held is None:
            self._engine.commit(operations, done)
        else:
            self.held.append((operations, done))
            self.holding.set()

    def let_through(self) -> None:
        held, self.held = self.held, None
        for operations, done in held or ():
            self._engine.commit(operations, done)


async def test_nobody_reads_what_is_not_committed_yet(file: Path) -> None:
    gates: list[Gate] = []

    def engine() -> Gate:
        gates.append(Gate(SqliteEngine(str(file))))
        return gates[-1]

    bank = bank_of(engine)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.balance)
        [gate] = gates
        gate.held = []
        deposit = asyncio.ensure_future(bank["a"].call(Account.deposit, 5))
        await gate.holding.wait()
        query = asyncio.ensure_future(bank["a"].call(Account.balance))
        second = asyncio.ensure_future(bank["a"].call(Account.deposit, 1))
        await wait_idle()

        assert 6 == bank._definition.live.active["a"].actor.state.cents  # type: ignore[union-attr]
        assert not any(each.done() for each in (deposit, query, second))
        gate.let_through()
        assert [5, 5, 6] == await asyncio.gather(deposit, query, second)


async def test_an_async_handler_is_one_turn_and_others_wait(store: str) -> None:
    bank = bank_of(store)
    until = asyncio.Event()

    async with kb.Supervisor(bank.child()):
        slow = asyncio.ensure_future(bank["a"].call(Account.deposit_slowly, 5, until))
        fast = asyncio.ensure_future(bank["a"].call(Account.deposit, 1))
        await bank["b"].call(Account.deposit, 1)
        assert not fast.done()
        until.set()

        assert [5, 6] == await asyncio.gather(slow, fast)


async def test_casts_are_recorded_in_order(store: str) -> None:
    diaries = kb.durable(Diary, store=store)

    async with kb.Supervisor(diaries.child()):
        for number in range(50):
            diaries["d"].cast(Diary.add, str(number))

        assert [str(number) for number in range(50)] == await diaries["d"].call(Diary.lines)


async def test_actors_are_found_by_their_tags(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        for key, city in (("a", "Oslo"), ("b", "Rome"), ("c", "Oslo")):
            await bank[key].call(Account.label, city)
        assert ["a", "c"] == await bank.where(city="Oslo")
        await bank["a"].call(Account.label, "Rome")

        assert ["c"] == await bank.where(city="Oslo")
        assert ["a", "b"] == await bank.where(city="Rome")
        assert ["a", "b", "c"] == await bank.keys()
        with pytest.raises(kb.UsageError, match="at least one tag"):
            await bank.where()


@pytest.mark.parametrize("same", [True, False])
async def test_a_kind_that_is_run_twice_on_one_event_loop_is_refused_with_what_to_do(
    store: str, same: bool
) -> None:
    one = kb.durable(Account, store=store)
    other = one if same else kb.durable(Account, store=store)
    async with kb.Supervisor(one.child()):
        with pytest.raises(kb.StartError) as caught:
            async with kb.Supervisor(other.child()):
                pass
        taken = caught.value.__cause__
        assert isinstance(taken, kb.NameTaken)
        assert "the name 'durable Account' is held by" in str(taken)
        assert "put one child() of it under one supervisor" in str(taken)
        assert "a type= of its own" in str(taken)
        await one["a"].call(Account.deposit, 1)


async def test_a_kind_that_does_not_run_says_so(store: str) -> None:
    bank = bank_of(store)

    with pytest.raises(kb.NotRunning, match=r"put its child\(\) under a running supervisor"):
        await bank["a"].call(Account.balance)


async def test_a_message_that_is_none_is_refused_at_the_sender(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        with pytest.raises(kb.UsageError, match="deposit"):
            await bank["a"].call(Diary.add, "x")  # type: ignore[arg-type]
        with pytest.raises(kb.UsageError, match="deposit"):
            bank["b"].cast(Diary.add, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"store": "app.db"}, "no URL of a store"),
        ({"store": "sqlite://app.db"}, "names no file"),
        ({"durability": "never"}, "durability is one of"),
        ({"deactivate_after": 0}, "deactivate_after takes seconds"),
        ({"snapshot_every": -1}, "snapshot_every takes seconds"),
        ({"max_active": 0}, "max_active takes a whole number"),
        ({"max_attempts": 0}, "max_attempts takes a whole number"),
        ({"lease": 0}, "lease takes seconds"),
        ({"mailbox": 0}, "mailbox takes a whole number"),
        ({"type": "a/b"}, "without '/'"),
        ({"system": ""}, "a system is a string"),
        ({"name": "n" * 256}, "a name is a string of 1 to 255"),
    ],
)
def test_each_option_is_checked_and_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(kb.UsageError, match=text):
        kb.durable(Account, **{"store": "memory://", **options})  # type: ignore[arg-type]


def test_a_class_without_a_state_is_refused() -> None:
    with pytest.raises(kb.UsageError, match=r"class Bare\(kb.DurableActor\[State\]\)"):

        class Bare(kb.DurableActor):
            pass

        kb.durable(Bare, store="memory://")
    with pytest.raises(kb.UsageError, match=r"subclass of kb\.DurableActor"):
        kb.durable(kb.Supervisor, store="memory://")  # type: ignore[type-var]


async def test_another_thread_is_refused_at_once_and_told_the_way(store: str) -> None:
    bank = bank_of(store)

    def elsewhere(key: str) -> None:
        asyncio.run(bank[key].call(Account.deposit, 5))

    async with kb.Supervisor(bank.child()):
        await bank["awake"].call(Account.deposit, 1)
        with pytest.raises(kb.WrongThread, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(elsewhere, "asleep")
        with pytest.raises(kb.WrongThread):
            await asyncio.to_thread(elsewhere, "awake")
        assert 1 == bank.statistics().active
