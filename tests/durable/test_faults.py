"""A disk that fills up, commits that fail, operations that are bad: who learns what."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koboshi.durable import (
    Counts,
    Ledger,
    LedgerClosed,
    LedgerDamaged,
    LedgerError,
    OutcomeUnknown,
    StoreUnavailable,
)
from koboshi.durable._transitions import Transaction, put

pytestmark = pytest.mark.anyio

NewLedger = Callable[..., Ledger]
IO_ERROR = sqlite3.OperationalError("disk I/O error")


async def test_one_bad_operation_does_not_fail_its_group(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        before = ledger.statistics().groups

        results: tuple[Any, ...] = await asyncio.gather(
            ledger.put("a", b""),
            ledger.put("\ud800", b""),
            ledger.claim("w"),
            ledger.put_many([("b", b""), ("\udfff", b"")]),
            ledger.put("c", b""),
            return_exceptions=True,
        )

        assert results[0] is True
        assert isinstance(results[1], UnicodeEncodeError)
        assert ["a"] == [claim.id for claim in results[2]]
        assert isinstance(results[3], UnicodeEncodeError)
        assert results[4] is True
        assert await ledger.counts() == Counts(pending=1, claimed=1)
        assert await ledger.job("b") is None
        statistics = ledger.statistics()
        assert (statistics.groups - before, statistics.isolated_groups, statistics.failed_groups) == (1, 1, 0)


async def test_an_operation_that_fails_halfway_takes_its_part_of_the_counts_along(
    new_ledger: NewLedger,
) -> None:
    async with new_ledger() as ledger:

        def half(tx: Transaction) -> None:
            put(tx, [("a", b"")], 0.0)
            raise ValueError("halfway")

        results = await asyncio.gather(
            ledger.put("b", b""), ledger._submit(half), ledger.put("c", b""), return_exceptions=True
        )

        assert (True, "halfway", True) == (results[0], str(results[1]), results[2])
        assert await ledger.counts() == Counts(pending=2)
        assert ["b", "c"] == [claim.id for claim in await ledger.claim("w", limit=9)]


async def test_a_full_disk_rejects_cleanly_and_recovers(new_ledger: NewLedger, faults: Any) -> None:
    pages = 60

    def limit(connection: sqlite3.Connection, when: str, sql: str) -> None:
        if when == "before" and sql.startswith("BEGIN IMMEDIATE"):
            connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    async with new_ledger(connect=faults.connect) as ledger:
        faults.hook = limit
        put = 0
        with pytest.raises(StoreUnavailable, match="full; nothing was recorded"):
            for put in range(100):
                await ledger.put(str(put), bytes(10_000))
        assert 10 < put < 30
        assert await ledger.counts() == Counts(pending=put)
        pages = 1000

        assert await ledger.put(str(put), bytes(10_000))
        assert put + 1 == len(await ledger.claim("w", limit=99))


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO job", "UPDATE tally", "UPDATE run"])
async def test_a_failure_before_commit_is_clean(new_ledger: NewLedger, faults: Any, statement: str) -> None:
    async with new_ledger(connect=faults.connect) as ledger:
        faults.fail_once("before", statement, IO_ERROR)

        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            await ledger.put("a", b"")

        assert await ledger.job("a") is None
        assert await ledger.put("a", b"")
        assert await ledger.counts() == Counts(pending=1)


async def test_a_commit_that_did_not_happen_is_looked_up_and_clean(
    new_ledger: NewLedger, faults: Any
) -> None:
    async with new_ledger(connect=faults.connect) as ledger:
        faults.fail_once("before", "COMMIT", IO_ERROR)

        with pytest.raises(StoreUnavailable):
            await ledger.put("a", b"")

        assert ledger.statistics().reopened == 1
        assert await ledger.put("a", b"")


async def test_a_commit_that_may_have_happened_is_unknown_and_asking_again_tells(
    new_ledger: NewLedger, faults: Any
) -> None:
    async with new_ledger(connect=faults.connect) as ledger:
        await ledger.put("a", b"")
        (claim,) = await ledger.claim("w")
        faults.fail_once("after", "COMMIT", IO_ERROR)

        results = await asyncio.gather(
            ledger.acknowledge(claim, b"r"), ledger.put("b", b""), return_exceptions=True
        )

        assert [OutcomeUnknown, OutcomeUnknown] == [type(result) for result in results]
        assert results[0] is not results[1]
        await ledger.acknowledge(claim, b"again")
        assert not await ledger.put("b", b"")
        assert [b"r"] == [result.value async for result in ledger.results()]
        assert await ledger.counts() == Counts(pending=1, done=1)


async def test_a_commit_is_unknown_while_the_file_cannot_be_opened_again(
    new_ledger: NewLedger, faults: Any
) -> None:
    async with new_ledger(connect=faults.connect) as ledger:
        faults.fail_once("before", "COMMIT", IO_ERROR)
        faults.refuse = sqlite3.OperationalError("unable to open database file")
        with pytest.raises(OutcomeUnknown):
            await ledger.put("a", b"")
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await ledger.put("b", b"")
        faults.refuse = None

        assert await ledger.put("a", b"")


async def test_a_failed_rollback_opens_the_file_again(new_ledger: NewLedger, faults: Any) -> None:
    async with new_ledger(connect=faults.connect) as ledger:
        failing = {"UPDATE tally", "ROLLBACK"}

        def hook(connection: sqlite3.Connection, when: str, sql: str) -> None:
            for start in list(failing):
                if sql.startswith(start):
                    failing.remove(start)
                    raise IO_ERROR

        faults.hook = hook
        with pytest.raises(StoreUnavailable):
            await ledger.put("a", b"")

        assert await ledger.job("a") is None
        assert await ledger.put("a", b"")
        assert ledger.statistics().reopened == 1


async def test_a_file_taken_away_is_not_replaced_by_an_empty_one(
    new_ledger: NewLedger, faults: Any, path: str
) -> None:
    ledger = await new_ledger(connect=faults.connect).open()
    await ledger.put("a", b"")

    def vanish(connection: sqlite3.Connection, when: str, sql: str) -> None:
        if when == "before" and sql == "COMMIT":
            faults.hook = None
            for suffix in ("", "-wal", "-shm"):
                Path(path + suffix).unlink()
            raise IO_ERROR

    faults.hook = vanish
    with pytest.raises(OutcomeUnknown):
        await ledger.put("b", b"")
    with pytest.raises(StoreUnavailable, match="replaced by an empty one"):
        await ledger.put("c", b"")
    await ledger.close()


async def test_corrupt_contents_are_named_as_such(new_ledger: NewLedger, path: str) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(f"{number:06}", bytes(500)) for number in range(200)])
    with open(path, "r+b") as file:  # noqa: ASYNC230
        file.seek(4096 * 15)
        file.write(b"\xff" * 4096 * 10)

    ledger = await new_ledger().open()
    with pytest.raises(LedgerDamaged, match=r"is damaged: SQLite says .* keep a copy"):
        await ledger.claim("w", limit=200)
    await ledger.close()


async def test_a_bug_in_the_writer_leaves_nobody_waiting(new_ledger: NewLedger, faults: Any) -> None:
    ledger = await new_ledger(connect=faults.connect).open()
    faults.fail_once("before", "BEGIN", AssertionError("planted"))

    results = await asyncio.gather(
        ledger.put("a", b""), asyncio.create_task(ledger.put("b", b"")), return_exceptions=True
    )

    assert all(isinstance(result, LedgerError) for result in results)
    with pytest.raises(AssertionError, match="planted"):
        await ledger.close()
    with pytest.raises(LedgerClosed):
        await ledger.put("c", b"")
    async with new_ledger() as again:
        assert await again.counts() == Counts()
