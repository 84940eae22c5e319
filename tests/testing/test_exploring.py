"""Exploring orders of turns: what it finds, what it keeps, and that a seed makes the same order again."""

from __future__ import annotations

import itertools
import pickle

import pytest

import koboshi as kb
from koboshi import testing


class Account(kb.Actor):
    def __init__(self) -> None:
        self.balance = 0

    @kb.message
    def read(self) -> int:
        return self.balance

    @kb.message
    def write(self, balance: int) -> None:
        self.balance = balance


class Depositor(kb.Actor):
    """Reads, adds and writes: two of them at once may lose a deposit."""

    def __init__(self, account: kb.ActorRef[Account]) -> None:
        self.account = account

    @kb.message
    async def deposit(self, amount: int) -> None:
        balance = await self.account.call(Account.read)
        await self.account.call(Account.write, balance + amount)


async def two_deposits() -> None:
    account = await kb.start(Account)
    depositors = [await kb.start(Depositor, account) for _ in range(2)]
    for each in depositors:
        each.cast(Depositor.deposit, 10)
    await testing.wait_idle()
    assert 20 == await account.call(Account.read)


def test_the_plain_order_never_shows_the_lost_update() -> None:
    for _ in range(50):
        testing.run_virtual(two_deposits)


def test_exploring_finds_the_lost_update_and_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KOBOSHI_SEED", raising=False)
    with pytest.raises(AssertionError) as caught:
        testing.explore(seeds=200)(two_deposits)()
    (note,) = caught.value.__notes__
    seed = note.split("KOBOSHI_SEED=")[1].split()[0]
    assert "pytest 'tests/testing/test_exploring.py::test_exploring_finds" in note

    monkeypatch.setenv("KOBOSHI_SEED", seed)
    with pytest.raises(AssertionError, match="20"):
        testing.explore(seeds=1)(two_deposits)()


def test_a_seed_makes_the_same_turns_again_and_another_seed_others() -> None:
    runs = [testing.replay(two_deposits, seed) for seed in range(5)]

    assert runs[0].trace == testing.run_seed(two_deposits, 0).trace
    assert 1 < len({each.trace for each in runs})
    assert any("Account.read" in turn for turn in runs[0].trace)


def test_a_test_that_is_not_deterministic_is_told_so() -> None:
    numbers = itertools.count()

    async def different_each_time() -> None:
        account = await kb.start(Account)
        for _ in range(next(numbers)):
            account.cast(Account.write, 1)
        await testing.wait_idle()

    with pytest.raises(testing.NotDeterministic, match="with seed 3 turn 0 was none and then Account#1"):
        testing.replay(different_each_time, 3)


def test_a_failure_that_is_not_the_seeds_is_noted() -> None:
    runs = itertools.count()

    async def fails_once() -> None:
        assert next(runs)

    with pytest.raises(AssertionError) as caught:
        testing.explore(seeds=2)(fails_once)()

    assert "took the same turns and passed" in caught.value.__notes__[1]


class Sink(kb.Actor):
    def __init__(self) -> None:
        self.got: list[tuple[int, int]] = []

    @kb.message
    def put(self, sender: int, number: int) -> None:
        self.got.append((sender, number))


class Source(kb.Actor):
    def __init__(self, number: int, sink: kb.ActorRef[Sink]) -> None:
        self.number = number
        self.sink = sink

    @kb.message
    def send(self, number: int) -> None:
        self.sink.cast(Sink.put, self.number, number)


async def three_sources(orders: set[tuple[tuple[int, int], ...]]) -> None:
    sink = await kb.start(Sink)
    sources = [await kb.start(Source, number, sink) for number in range(3)]
    for number in range(4):
        for each in sources:
            each.cast(Source.send, number)
    await testing.wait_idle()
    orders.add(tuple(sink._cell.actor.got))


def test_p1_each_pair_keeps_its_order_and_senders_are_mixed() -> None:
    orders: set[tuple[tuple[int, int], ...]] = set()
    testing.explore(seeds=50)(three_sources)(orders)

    assert 40 < len(orders)
    for order in orders:
        for sender in range(3):
            assert [0, 1, 2, 3] == [number for who, number in order if who == sender]


def test_a_test_without_end_fails_with_its_seed() -> None:
    class Busy(kb.Actor):
        @kb.message
        def again(self) -> None:
            self.me.cast(Busy.again)

    async def endless() -> None:
        ref = await kb.start(Busy)
        ref.cast(Busy.again)
        await ref.wait_exit()

    with pytest.raises(testing.Livelock, match="with seed 0 the test is not over after 1,000 turns"):
        testing.explore(seeds=1, max_turns=1000)(endless)()


def test_supervised_restarts_are_explored_too() -> None:
    class Fragile(kb.Actor):
        @kb.message
        def fail(self) -> None:
            raise ValueError("on purpose")

        @kb.message
        def ping(self) -> str:
            return "pong"

    async def crash_and_return() -> None:
        async with kb.Supervisor(kb.child(Fragile).options(id="it")) as tree:
            ref = tree.ref(Fragile, "it")
            with pytest.raises(kb.ActorExited):
                await ref.call(Fragile.fail)
            await tree.wait_ready()
            assert "pong" == await ref.call(Fragile.ping)

    testing.explore(seeds=20)(crash_and_return)()


def test_options_and_the_variable_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(kb.UsageError, match="seeds must be a whole number >= 1, got 0"):
        testing.explore(seeds=0)
    with pytest.raises(kb.UsageError, match="max_turns must be a whole number >= 1, got True"):
        testing.explore(max_turns=True)
    with pytest.raises(kb.UsageError, match="explore\\(\\) decorates an async def test"):
        testing.explore()(print)  # type: ignore[arg-type]
    monkeypatch.setenv("KOBOSHI_SEED", "x")
    with pytest.raises(kb.UsageError, match="KOBOSHI_SEED must be a whole number >= 0, got 'x'"):
        testing.explore()(two_deposits)()


def test_the_errors_survive_a_pickle() -> None:
    for error in (testing.NotDeterministic(1, 2, "a", None), testing.Livelock(1, 2)):
        again = pickle.loads(pickle.dumps(error))
        assert (str(error), vars(error)) == (str(again), vars(again))
