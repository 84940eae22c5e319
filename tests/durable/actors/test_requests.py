"""A request with an id is handled once, and whoever asks again gets its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import ClassVar

import pytest
from tests.durable.changes import delivered

import koboshi as kb

from .accounts import Account, bank_of


async def test_the_same_id_is_answered_once(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        assert 5 == await bank["a"].request("r").call(Account.deposit, 5)
        assert 10 == await bank["a"].call(Account.deposit, 5)

        assert 5 == await bank["a"].request("r").call(Account.deposit, 5)
        assert 10 == await bank["a"].call(Account.balance)


async def test_it_is_answered_once_across_activations_and_runs(url: str) -> None:
    bank = bank_of(url)
    for _ in range(3):
        async with kb.Supervisor(bank.child()):
            assert 5 == await bank["a"].request("r").call(Account.deposit, 5)
            with pytest.raises(kb.ActorExited):
                await bank["a"].call(Account.break_after, 1)
            assert 5 == await bank["a"].request("r").call(Account.deposit, 5)


async def test_it_is_answered_once_when_asked_at_the_same_time(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        done = await asyncio.gather(*(bank["a"].request("r").call(Account.deposit, 5) for _ in range(20)))

        assert [5] * 20 == done
        assert 5 == await bank["a"].call(Account.balance)


async def test_it_is_found_among_more_requests_than_are_taken_along(url: str) -> None:
    bank = bank_of(url)
    ids = [f"r{number:04}" for number in range(400)]
    async with kb.Supervisor(bank.child()):
        await asyncio.gather(*(bank["a"].request(id).call(Account.deposit, 1) for id in ids))
    async with kb.Supervisor(bank.child()):
        again = await asyncio.gather(*(bank["a"].request(id).call(Account.deposit, 1) for id in ids))

        assert sorted(again) == list(range(1, 401))
        assert 400 == await bank["a"].call(Account.balance)


async def test_what_a_handler_sends_does_not_carry_its_id(store: str) -> None:
    bank = bank_of(store)

    class Asking(kb.DurableActor[int]):
        def initial(self) -> int:
            return 0

        @kb.message
        async def twice(self) -> int:
            await bank["a"].call(Account.deposit, 1)
            return await bank["a"].call(Account.deposit, 1)

    asking = kb.durable(Asking, store=store)
    async with kb.Supervisor(bank.child(), asking.child()):
        assert 2 == await asking["x"].request("r").call(Asking.twice)


async def test_a_refused_request_may_be_asked_again(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child()):
        with pytest.raises(kb.Refused):
            await bank["a"].request("r").call(Account.withdraw, 5)
        await bank["a"].call(Account.deposit, 5)

        assert 0 == await bank["a"].request("r").call(Account.withdraw, 5)


async def test_a_message_that_is_put_is_handled_once_by_its_id(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].request("p").put(Account.deposit, 5)
        await bank["a"].request("p").put(Account.deposit, 5)
        await delivered(bank)
        await bank["a"].request("p").put(Account.deposit, 5)
        await delivered(bank)

        assert 5 == await bank["a"].call(Account.balance)
        assert 5 == await bank["a"].request("p").call(Account.deposit, 5)


async def test_what_is_put_to_two_kinds_of_one_store_or_with_one_id_to_two_actors_is_all_handled(
    store: str,
) -> None:
    bank, other = bank_of(store), bank_of(store, type="Other")

    async with kb.Supervisor(bank.child(), other.child()):
        await asyncio.gather(*(kind["a"].put(Account.deposit, 1) for kind in (bank, other) for _ in range(5)))
        await asyncio.gather(
            *(kind[key].request("x").put(Account.deposit, 1) for kind in (bank, other) for key in "ab")
        )
        await delivered(bank)

        assert 14 == bank.statistics().delivered + other.statistics().delivered
        for kind in (bank, other):
            assert [6, 1] == [await kind[key].call(Account.balance) for key in "ab"]


async def test_what_is_put_after_its_kind_was_restarted_is_handled(store: str) -> None:
    bank, other = bank_of(store), bank_of(store, type="Other")

    # The other kind keeps the store open meanwhile.
    async with kb.Supervisor(other.child()):
        for round in (1, 2):
            async with kb.Supervisor(bank.child()):
                await bank["a"].put(Account.deposit, 1)
                await delivered(bank)
                assert 1 == bank.statistics().delivered
                assert round == await bank["a"].call(Account.balance)


# -- an id that comes again with another question ---------------------------------------------------


def is_mismatch(error: BaseException | None, kept: str, came: str) -> None:
    assert isinstance(error, kb.RequestMismatch)
    assert isinstance(error, kb.UsageError)
    assert ("Account/a", "1", kept, came) == (error.actor, error.request, error.kept, error.came)
    what = "with other arguments" if kept == came else f"as {came}"
    assert f"the request '1' of Account/a is kept as {kept}, and came again {what}; " in str(error)
    assert "give each request an id of its own" in str(error)


async def raised(call: Awaitable[object]) -> BaseException | None:
    return (await asyncio.gather(call, return_exceptions=True))[0]  # type: ignore[return-value]  # what is no error fails


async def test_an_id_that_comes_with_another_message_or_other_arguments_is_refused(store: str) -> None:
    bank = bank_of(store)
    async with kb.Supervisor(bank.child()):
        account = bank["a"].request("1")
        # While the first one is not committed yet, and afterwards.
        first = asyncio.ensure_future(account.call(Account.deposit, 5))
        at_once = await asyncio.gather(
            account.call(Account.label, "Oslo"),
            account.call(Account.deposit, 6),
            account.call(Account.deposit, cents=5),
            return_exceptions=True,
        )
        assert 5 == await first
        awake = await bank["a"].awake()
        for _ in range(2):
            is_mismatch(at_once[0], "deposit", "label")
            is_mismatch(at_once[1], "deposit", "deposit")  # type: ignore[arg-type]
            assert 5 == at_once[2]
            at_once = await asyncio.gather(
                account.call(Account.label, "Oslo"),
                account.call(Account.deposit, 6),
                account.call(Account.deposit, cents=5),
                return_exceptions=True,
            )

        assert 5 == await bank["a"].call(Account.balance)
        assert awake == await bank["a"].awake()
        assert [] == await bank.where(city="Oslo")


async def test_it_is_refused_by_the_next_program_and_where_it_is_put_as_well(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].request("1").put(Account.deposit, 5)
        await delivered(bank)
    async with kb.Supervisor(bank.child()):
        account = bank["a"].request("1")
        is_mismatch(await raised(account.call(Account.withdraw, 5)), "deposit", "withdraw")
        is_mismatch(await raised(account.call(Account.deposit, 6)), "deposit", "deposit")
        is_mismatch(await raised(account.put(Account.withdraw, 5)), "deposit", "withdraw")
        is_mismatch(await raised(account.put(Account.deposit, 6)), "deposit", "deposit")
        await account.put(Account.deposit, cents=5)
        await delivered(bank)

        assert 5 == await account.call(Account.deposit, 5)
        assert 5 == await bank["a"].call(Account.balance)
        assert 0 == bank.statistics().dead_letters


class Gate(kb.DurableActor[int]):
    """Handles nothing until it is told."""

    open: ClassVar[asyncio.Event]

    async def on_start(self) -> None:
        await self.open.wait()

    @kb.message
    def take(self, what: float, unordered: frozenset[str]) -> float:
        self.state += 1
        return what

    @kb.message
    def change(self, what: list[int]) -> int:
        what.append(0)
        return len(what)

    @kb.message
    def wake(self, event: asyncio.Event) -> None:
        event.set()


async def test_it_is_refused_at_put_while_the_first_one_waits(store: str) -> None:
    Gate.open = asyncio.Event()
    gates = kb.durable(Gate, store=store)
    async with kb.Supervisor(gates.child()):
        gate = gates["g"].request("1")
        await gate.put(Gate.change, [1])
        await gate.put(Gate.change, [1])
        for call in (gate.put(Gate.change, [2]), gate.put(Gate.take, 1, frozenset())):
            error = await raised(call)
            assert isinstance(error, kb.RequestMismatch)
            assert "change" == error.kept
        # A call overtakes what was put, which is a dead letter then: nobody else could be told.
        late = asyncio.ensure_future(gates["h"].request("1").call(Gate.take, 1, frozenset()))
        await gates["h"].request("1").put(Gate.change, [1])
        Gate.open.set()
        assert 1 == await late
        await delivered(gates)
        assert 2 == await gate.call(Gate.change, [1])


async def test_the_same_arguments_are_known_again_however_they_are_sent(url: str) -> None:
    Gate.open = asyncio.Event()
    Gate.open.set()
    letters = frozenset("abcdefghijklmnop")
    gates = kb.durable(Gate, store=url)
    async with kb.Supervisor(gates.child()):
        gate = gates["g"].request("1")
        # A float as an integer, by position or by name, in another order, and changed by the handler.
        await gate.put(Gate.take, 5, letters)
        for turn in range(2):
            assert 5.0 == await gate.call(Gate.take, 5, letters)
            assert 5.0 == await gate.call(Gate.take, 5.0, unordered=frozenset(sorted(letters, reverse=True)))
            assert 2 == await gates["g"].request("2").call(Gate.change, [1])
            assert 2 == await gates["g"].request("2").call(Gate.change, what=[1])
            # What cannot be encoded is not compared; the message is.
            event = asyncio.Event()
            await gates["g"].request("3").call(Gate.wake, event)
            assert event.is_set() == (turn == 0)
            assert isinstance(
                await raised(gates["g"].request("3").call(Gate.change, [1])), kb.RequestMismatch
            )


class Front(kb.DurableActor[int]):
    def __init__(self, bank: kb.Durable[Account]) -> None:
        self.bank = bank

    @kb.message
    def deposit(self, cents: int) -> int:
        return self.forward(self.bank["a"], Account.deposit, cents)


async def test_it_is_refused_where_the_reply_was_forwarded(url: str) -> None:
    bank = bank_of(url)
    fronts = kb.durable(kb.child(Front, bank), store=url)
    for _ in range(2):
        async with kb.Supervisor(bank.child(), fronts.child()):
            assert 5 == await fronts["f"].request("1").call(Front.deposit, 5)
            error = await raised(fronts["f"].request("1").call(Front.deposit, 6))
            assert isinstance(error, kb.RequestMismatch)
            assert ("Front/f", "deposit", "deposit") == (error.actor, error.kept, error.came)
            assert 5 == await bank["a"].call(Account.balance)
