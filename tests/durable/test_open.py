"""What is refused as a ledger file, and that nothing is changed or left by the refusal."""

# ruff: noqa: ASYNC221, ASYNC240
# Nothing else runs in these loops, so the blocking file functions do no harm.

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from koboshi.durable import (
    Counts,
    Ledger,
    LedgerInUse,
    LedgerUnusable,
    NotALedger,
    StoreUnavailable,
    WrongLedgerVersion,
)

pytestmark = pytest.mark.anyio

NewLedger = Callable[..., Ledger]


async def refusal(new_ledger: NewLedger, path: str, kind: type[LedgerUnusable]) -> str:
    """Opens, expects `kind`, checks that the folder is as before, gives the message."""
    folder = os.path.dirname(path)
    before = sorted(os.listdir(folder)) if os.path.isdir(folder) else None
    ledger = new_ledger()
    with pytest.raises(kind) as caught:
        await ledger.open()
    await ledger.close()
    assert before == (sorted(os.listdir(folder)) if before is not None else None)
    assert caught.value.path == path
    message = str(caught.value)
    assert repr(path) in message
    return message


def database(path: str, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("content", [b"to do:\n- everything\n", bytes(5000), os.urandom(8192), b"x"])
async def test_a_file_of_another_kind_is_refused_and_kept(
    new_ledger: NewLedger, path: str, content: bytes
) -> None:
    Path(path).write_bytes(content)

    message = await refusal(new_ledger, path, NotALedger)

    assert "it is not an SQLite database; give another path" in message
    assert Path(path).read_bytes() == content


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE recipe (name TEXT)",),
        ("PRAGMA journal_mode = WAL", "CREATE TABLE recipe (name TEXT)"),
        ("PRAGMA application_id = 77",),
    ],
)
async def test_another_programs_database_is_refused_and_kept(
    new_ledger: NewLedger, path: str, statements: tuple[str, ...]
) -> None:
    database(path, *statements)
    content = Path(path).read_bytes()

    message = await refusal(new_ledger, path, NotALedger)

    assert "it is a database of another program" in message
    assert Path(path).read_bytes() == content


@pytest.mark.parametrize(("version", "advice"), [(2, "upgrade koboshi"), (0, "finish it with the version")])
async def test_another_layout_version_is_refused_and_kept(
    new_ledger: NewLedger, path: str, version: int, advice: str
) -> None:
    async with new_ledger():
        pass
    database(path, f"PRAGMA user_version = {version}")
    content = Path(path).read_bytes()

    message = await refusal(new_ledger, path, WrongLedgerVersion)

    assert f"layout version {version}" in message
    assert advice in message
    assert Path(path).read_bytes() == content


async def test_a_directory_is_refused(new_ledger: NewLedger, path: str) -> None:
    os.mkdir(path)

    assert "it is a directory" in await refusal(new_ledger, path, NotALedger)


async def test_a_missing_folder_is_named(clock: Callable[[], float], tmp_path: Path) -> None:
    path = str(tmp_path / "missing" / "jobs.db")

    message = await refusal(lambda: Ledger(path, clock=clock), path, LedgerUnusable)

    assert f"there is no folder {os.path.dirname(path)!r}; create it first" in message


async def test_a_link_to_nowhere_is_refused(new_ledger: NewLedger, path: str) -> None:
    os.symlink("nowhere", path)

    assert "a link that leads nowhere" in await refusal(new_ledger, path, LedgerUnusable)


async def test_an_empty_file_becomes_a_ledger(new_ledger: NewLedger, path: str) -> None:
    Path(path).touch()

    async with new_ledger() as ledger:
        assert await ledger.put("a", b"")


async def test_a_second_owner_is_told_who_has_the_file(new_ledger: NewLedger, path: str) -> None:
    async with new_ledger() as first:
        for options in ({}, {"exclusive": False}):
            with pytest.raises(LedgerInUse, match=f"in use by process {os.getpid()}; stop that process"):
                await new_ledger(**options).open()
        assert await first.put("a", b"")
    async with new_ledger() as again:
        assert await again.counts() == Counts(pending=1)


async def test_an_exclusive_owner_waits_until_all_sharers_are_gone(new_ledger: NewLedger, path: str) -> None:
    one = await new_ledger(exclusive=False).open()
    async with new_ledger(exclusive=False) as two:
        await one.close()
        with pytest.raises(LedgerInUse):
            await new_ledger().open()
        assert await two.put("a", b"")

    async with new_ledger():
        pass


async def test_a_forked_child_does_not_keep_the_ledger_locked(path: str) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from koboshi.durable import Ledger\n"
        "async def main():\n"
        "    async with Ledger(sys.argv[1]):\n"
        "        read, write = os.pipe()\n"
        "        pid = os.fork()\n"
        "        if not pid:\n"
        "            os.close(write)\n"
        "            os.read(read, 1)\n"  # lives until the parent says so
        "            os._exit(0)\n"
        "    async with Ledger(sys.argv[1]):\n"
        "        os.close(write)\n"
        "        os.waitpid(pid, 0)\n"
        "        print('opened')\n"
        "asyncio.run(main())\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, path], capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("opened\n", "")


async def test_a_database_locked_by_another_program_is_unavailable_after_a_bounded_wait(
    new_ledger: NewLedger, path: str
) -> None:
    async with new_ledger(busy_timeout=0.02) as ledger:
        await ledger.put("a", b"")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked; nothing was recorded, try again later"):
            await ledger.put("b", b"")
        assert await ledger.counts() == Counts(pending=1)  # reading goes on
        other.execute("ROLLBACK")
        other.close()

        assert await ledger.put("b", b"")
        assert ledger.statistics().failed_groups == 1


async def test_a_locked_database_cannot_be_opened_for_long_either(new_ledger: NewLedger, path: str) -> None:
    async with new_ledger():
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await new_ledger(busy_timeout=0.02).open()
    other.close()

    async with new_ledger() as ledger:
        assert await ledger.put("a", b"")


async def test_commits_are_synced_in_full(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        journal, synchronous = await ledger._submit(
            lambda tx: [
                tx.cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]
        )

        assert ("wal", 2) == (journal, synchronous)
