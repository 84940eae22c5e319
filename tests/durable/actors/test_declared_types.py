"""A state that does not fit its declared type is refused while there is still somebody to tell."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

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
