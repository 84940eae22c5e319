"""A request with an id is handled once, and whoever asks again gets its reply."""

from __future__ import annotations

import asyncio
from pathlib import Path

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


async def test_an_id_that_was_used_for_another_message_is_told_and_the_actor_goes_on(store: str) -> None:
    bank = bank_of(store)
    async with kb.Supervisor(bank.child()):
        assert 5 == await bank["alice"].request("1").call(Account.deposit, 5)
        awake = await bank["alice"].awake()
        with pytest.raises(
            kb.UsageError, match=r"the request '1' of Account/alice .* give each request an id"
        ):
            await bank["alice"].request("1").call(Account.label, "Oslo")
        assert 5 == await bank["alice"].call(Account.balance)
        assert awake == await bank["alice"].awake()
