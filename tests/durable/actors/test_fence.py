"""Of all that hold an actor at most one can commit, and damaged or exchanged rows are noticed."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import koboshi as kb

from .accounts import Account, bank_of


def change(file: Path, text: str, *values: Any) -> int:
    """Change the store behind the program's back, as another program or a fault would."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(text, values).rowcount
    finally:
        connection.close()


def rows(file: Path, query: str) -> list[Any]:
    """What another program would read."""
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_a_host_that_was_taken_over_cannot_commit(url: str, file: Path) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        change(file, "UPDATE kb_actor SET token = x'00', owner = 'somebody', epoch = epoch + 1")
        with pytest.raises(kb.Fenced, match="Account/a was taken over"):
            await bank["a"].call(Account.deposit, 100)

        # `somebody` has no lease, so the next message takes the actor back, as it was committed.
        assert 5 == await bank["a"].call(Account.balance)
        assert [("a", 1)] == rows(file, "SELECT actor_key, revision FROM kb_actor")


async def test_an_older_row_put_back_beneath_a_running_actor_refuses_its_commits(
    url: str, file: Path
) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        [old] = rows(file, "SELECT revision, state, state_revision FROM kb_actor")
        await bank["a"].call(Account.deposit, 5)
        change(file, "UPDATE kb_actor SET revision = ?, state = ?, state_revision = ?", *old)
        with pytest.raises(kb.Fenced):
            await bank["a"].call(Account.deposit, 100)

        assert 5 == await bank["a"].call(Account.balance)


async def test_a_bad_turn_of_one_actor_costs_no_other_of_the_same_group_its_commit(
    url: str, file: Path
) -> None:
    bank = bank_of(url)
    keys = [f"k{number}" for number in range(20)]

    async with kb.Supervisor(bank.child()):
        await asyncio.gather(*(bank[key].call(Account.deposit, 1) for key in keys))
        change(file, "UPDATE kb_actor SET token = x'00' WHERE actor_key = 'k7'")
        done = await asyncio.gather(
            *(bank[key].call(Account.deposit, 1) for key in keys), return_exceptions=True
        )

        assert [7] == [place for place, each in enumerate(done) if isinstance(each, kb.Fenced)]
        assert 19 == done.count(2)


async def test_a_damaged_row_keeps_its_actor_down_and_no_other(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        for key in "ab":
            await bank[key].call(Account.deposit, 5)
    [blob] = rows(file, "SELECT state FROM kb_actor WHERE actor_key = 'a'")[0]
    damaged = blob[:-1] + bytes([blob[-1] ^ 1])
    change(file, "UPDATE kb_actor SET state = ? WHERE actor_key = 'a'", damaged)

    async with kb.Supervisor(bank.child()):
        for _ in range(2):
            with pytest.raises(kb.Corrupted, match=r"Account/a.*checksum"):
                await bank["a"].call(Account.balance)

        assert 5 == await bank["b"].call(Account.balance)
    assert (damaged,) == rows(file, "SELECT state FROM kb_actor")[0]


async def test_two_rows_that_were_exchanged_are_both_refused(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 1)
        await bank["b"].call(Account.deposit, 1_000)
    states = dict(rows(file, "SELECT actor_key, state FROM kb_actor"))
    change(file, "UPDATE kb_actor SET state = ? WHERE actor_key = 'a'", states["b"])
    change(file, "UPDATE kb_actor SET state = ? WHERE actor_key = 'b'", states["a"])

    async with kb.Supervisor(bank.child()):
        for key in "ab":
            with pytest.raises(kb.Corrupted):
                await bank[key].call(Account.balance)


async def test_a_state_that_is_gone_is_no_empty_one(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
    change(file, "UPDATE kb_actor SET state = NULL")

    async with kb.Supervisor(bank.child()):
        with pytest.raises(kb.Corrupted, match="at revision 1 and has no state"):
            await bank["a"].call(Account.balance)


async def test_an_older_state_put_back_into_its_row_is_refused(url: str, file: Path) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        [old] = rows(file, "SELECT state, state_revision FROM kb_actor")
        await bank["a"].call(Account.deposit, 5)
    change(file, "UPDATE kb_actor SET state = ?, state_revision = ?", *old)

    async with kb.Supervisor(bank.child()):
        with pytest.raises(kb.Corrupted, match="its state is of revision 1 and its row of 2"):
            await bank["a"].call(Account.balance)
