"""A state that does not fit its declared type is refused while there is still somebody to tell."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from tests.durable.changes import delivered

import koboshi as kb

from .accounts import Account, bank_of


class Opened(msgspec.Struct):
    by: str


class Shop(kb.DurableActor[Opened]):
    @kb.message
    def who(self) -> str:
        return self.state.by


class AnnsShop(Shop):
    def initial(self) -> Opened:
        return Opened("ann")


async def test_a_turn_whose_state_does_not_fit_its_type_is_undone_and_the_actor_can_still_be_woken(
    store: str,
) -> None:
    bank = bank_of(store)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        with pytest.raises(
            kb.ActorExited, match="state of Account/a does not fit Balance: Expected `int`, got `float`"
        ):
            await bank["a"].call(Account.deposit, cast("Any", 0.5))

        assert 5 == await bank["a"].call(Account.balance)


async def test_a_state_that_is_saved_later_is_checked_as_well(store: str) -> None:
    bank = bank_of(store, durability="snapshot")
    async with kb.Supervisor(bank.child()):
        with pytest.raises(kb.ActorExited, match="does not fit Balance"):
            await bank["a"].call(Account.deposit, cast("Any", 0.5))

        assert 0 == await bank["a"].call(Account.balance)


def test_a_state_that_has_no_first_value_says_how_to_give_one() -> None:
    with pytest.raises(
        kb.UsageError, match=r"'by'.*; give its fields defaults, or let Shop override `initial`"
    ):
        Shop().who()
    assert "ann" == AnnsShop().who()


class Errand(kb.DurableActor[int]):
    """Sends on what nobody's type checker has seen."""

    def __init__(self, bank: kb.Durable[Account]) -> None:
        self.bank = bank

    @kb.message
    def run(self, verb: str, cents: object) -> object:
        given: Any = cents
        if verb == "send":
            self.send(self.bank["a"], Account.deposit, given)
        elif verb == "forward":
            return self.forward(self.bank["a"], Account.deposit, given)
        else:
            self.remind("later", Errand.run, cents, cents, after=1.0)
        return None


async def test_a_recorded_message_of_the_wrong_type_is_refused_at_whoever_sends_it(store: str) -> None:
    bank = bank_of(store)
    errands = kb.durable(kb.child(Errand, bank), store=store)
    text = (
        r"Account.deposit\(cents: 'int'\) -> 'int' was sent arguments that do not fit: "
        "cents: Expected `int`, got `str`"
    )
    async with kb.Supervisor(bank.child(), errands.child()):
        with pytest.raises(kb.UsageError, match=text):
            await bank["a"].put(Account.deposit, cast("Any", "5"))
        with pytest.raises(kb.UsageError, match="cents: Expected `int`, got `str`"):
            await bank["a"].put(Account.transfer, "b", cents=cast("Any", "5"))
        for verb in ("send", "forward"):
            with pytest.raises(kb.ActorExited) as caught:
                await errands["e"].call(Errand.run, verb, "5")
            assert text.replace("\\", "") in str(caught.value.__cause__)
        with pytest.raises(kb.ActorExited, match="verb: Expected `str`, got `int`"):
            await errands["e"].call(Errand.run, "remind", 5)
        await bank["a"].put(Account.deposit, 5)
        await delivered(bank)

        assert 1 == bank.statistics().delivered
        assert 5 == await bank["a"].call(Account.balance)
        assert 0 == bank.statistics().dead_letters + errands.statistics().dead_letters


async def test_a_message_from_a_program_with_another_type_is_a_dead_letter_that_names_the_argument(
    url: str,
) -> None:
    class Older(kb.DurableActor[int]):
        @kb.message
        def deposit(self, cents: str) -> None: ...

    older, bank = kb.durable(Older, store=url, type="Account"), bank_of(url, type="Account")
    letters = kb.durable(kb.child(Post, older), store=url)
    async with kb.Supervisor(letters.child()):
        await letters["l"].call(Post.letter)
    async with kb.Supervisor(bank.child()):
        await delivered(bank)
        assert 1 == bank.statistics().dead_letters
        kind = bank._definition.live
        assert kind is not None
        [(state, report)] = await kind.store.read(
            lambda session: session.execute("SELECT state, report FROM kb_outbox", {})
        )

    assert ("dead", "its arguments cannot be read: cents: Expected `int`, got `str`") == (state, report)


class Post(kb.DurableActor[int]):
    def __init__(self, to: kb.Durable[Any]) -> None:
        self.to = to

    @kb.message
    def letter(self) -> None:
        self.send(self.to["a"], self.to._definition.cls.deposit, "5")
