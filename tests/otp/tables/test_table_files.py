"""The file of a disk table: what is something else, damaged or half made is refused or mended."""

# ruff: noqa: ASYNC220, ASYNC221, ASYNC240
# Nothing else runs meanwhile, so the blocking file functions do no harm.

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.otp.tables.rig import as_process, reopened

from koboshi import otp
from koboshi.otp.tables._rows_codec import encode_key

PROGRAM = str(Path(__file__).with_name("killed_writer.py"))


def another_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")
    connection.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("dear diary"),
        lambda path: path.write_bytes(b"SQLite format 3\0"),
        lambda path: path.write_bytes(random.Random(1).randbytes(9000)),
        another_database,
    ],
)
async def test_a_file_of_something_else_is_refused_and_stays_as_it_was(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "rows"
    make(path)
    before = path.read_bytes()
    with pytest.raises(otp.NotATableFile) as raised:
        await reopened(path)

    assert str(path) == raised.value.path
    assert before == path.read_bytes()
    assert ["rows"] == [each.name for each in tmp_path.iterdir()]


async def test_another_programs_database_is_not_changed_even_when_it_was_left_in_a_transaction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    another_database(path)
    tmp_path.joinpath("rows-journal").write_bytes(b"x" * 600)
    before = path.read_bytes()
    with pytest.raises(otp.NotATableFile, match="another program"):
        await reopened(path)

    assert before == path.read_bytes()


async def test_a_maker_that_was_killed_before_its_first_commit_has_left_nothing_in_the_way(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    maker = subprocess.run(
        [sys.executable, "-c", HALF_MADE, str(path)], capture_output=True, text=True, check=False
    )
    assert -signal.SIGKILL == maker.returncode, maker.stderr
    assert path.with_name("rows-journal").exists()

    assert [] == await reopened(path)


# Begins the first transaction of a file and is killed when its pages have been written.
HALF_MADE = """
import os, signal, sqlite3, sys
from koboshi.otp.tables import _table_file as it
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN EXCLUSIVE")
for statement in it._SCHEMA:
    connection.execute(statement)
for n in range(200):
    connection.execute("INSERT INTO entries VALUES (?, ?)", (b"%d" % n, b"x" * 1000))
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_what_was_made_by_half_for_want_of_space_is_made_once_there_is_some(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    path, ballast, refusals = disk / "rows", disk / "ballast", []

    async def make() -> str:
        try:
            table = await otp.DiskTable[Any].open(path)
        except otp.TableFileError as error:
            return str(error)
        await table.sync()
        return ""

    try:
        for left in range(0, 32_768, 4_096):
            path.unlink(missing_ok=True)
            found = os.statvfs(disk)
            ballast.write_bytes(b"x" * (found.f_bavail * found.f_frsize - left))
            refusals.append(await as_process(make))
            ballast.unlink()
            assert [] == await reopened(path)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

    assert refusals[0].endswith("database or disk is full")
    assert {refusals[0], ""} == set(refusals)


async def test_another_programs_database_of_one_page_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW one AS SELECT 1")
    before = path.read_bytes()
    with pytest.raises(otp.NotATableFile, match="another program"):
        await reopened(path)

    assert before == path.read_bytes()


async def test_what_is_no_file_or_may_not_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(otp.TableFileError):
        await reopened(tmp_path / "nowhere" / "rows")
    with pytest.raises(otp.NotATableFile, match="regular"):
        await reopened(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(otp.NotATableFile, match="regular"):
        await reopened(tmp_path / "pipe")


async def fill(path: Path, rows: int = 500) -> None:
    async def body() -> None:
        table = await otp.DiskTable[Any].open(path)
        table.insert(*[(n, "x" * 50) for n in range(rows)])
        await table.close()

    await as_process(body)


@pytest.mark.parametrize("keep", [5000, 120, 40])
async def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "rows"
    await fill(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises((otp.TableFileDamaged, otp.NotATableFile)):
        await reopened(path)

    path.unlink()
    assert [] == await reopened(path)


async def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    await fill(path)
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(otp.TableFileDamaged):
        await reopened(path)


@pytest.mark.parametrize("bad", [b"", b"\xc1", b"\x91\x91\xc7\x01\x63\x00", b"\x07"])
async def test_a_row_that_cannot_be_read_is_found(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "rows"
    await fill(path, 3)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entries SET rows = ? WHERE key = ?", (bad, encode_key(1)))
    connection.commit()
    connection.close()
    with pytest.raises(otp.TableFileDamaged, match="row"):
        await reopened(path)


async def test_a_file_with_a_row_that_cannot_be_read_is_not_locked_by_who_keeps_the_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    await fill(path, 3)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE entries SET rows = ? WHERE key = ?", (b"\xc1", encode_key(1)))
    connection.commit()
    connection.close()
    kept: list[otp.TableFileDamaged] = []
    for _ in range(2):
        with pytest.raises(otp.TableFileDamaged, match="row") as caught:
            await reopened(path, wait=0.1)
        kept.append(caught.value)
    with closing(sqlite3.connect(path, timeout=0.1)) as repair, repair:
        repair.execute("DELETE FROM entries WHERE key = ?", (encode_key(1),))
    repair.close()

    assert 2 == len(await reopened(path))


async def test_another_kind_or_key_than_it_was_made_with_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path / "rows", 1)
    with pytest.raises(otp.TableMismatch, match="kind='set' and key=0, and was opened with kind='bag'"):
        await reopened(tmp_path / "rows", kind="bag")
    with pytest.raises(otp.TableMismatch, match="key=1"):
        await reopened(tmp_path / "rows", key=1)

    assert 1 == len(await reopened(tmp_path / "rows"))


async def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path / "rows", 1)
    connection = sqlite3.connect(tmp_path / "rows")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    with pytest.raises(otp.NotATableFile, match="format is 2"):
        await reopened(tmp_path / "rows")


async def test_a_file_has_one_opener_at_a_time_in_one_process(tmp_path: Path) -> None:
    async def body() -> None:
        await otp.DiskTable.open(tmp_path / "rows", name="one")
        os.link(tmp_path / "rows", tmp_path / "alias")
        for path in ("rows", "alias"):
            with pytest.raises(otp.TableFileInUse, match="this process"):
                await otp.DiskTable.open(tmp_path / path, name="two")

    await as_process(body)


@pytest.mark.slow
async def test_a_file_has_one_opener_at_a_time_among_processes(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, PROGRAM, str(tmp_path / "rows")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert "1\n" == writer.stdout.readline()
        with pytest.raises(otp.TableFileInUse, match="another process"):
            await reopened(tmp_path / "rows", wait=0.05)
    finally:
        writer.kill()
        writer.communicate()
    assert await reopened(tmp_path / "rows")


@pytest.mark.slow
async def test_everything_that_was_synced_is_there_after_kill_9(tmp_path: Path) -> None:
    path, told = tmp_path / "rows", 0
    for round in range(4):
        writer = subprocess.Popen([sys.executable, PROGRAM, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(random.Random(round).randint(1, 20))]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        assert -signal.SIGKILL == writer.returncode
        answers = [
            int(line) for line in ["".join(lines) + rest][0].splitlines(keepends=True) if line.endswith("\n")
        ]
        assert list(range(answers[0], answers[-1] + 1)) == answers
        rows = dict(await reopened(path))

        assert told < answers[0] <= told + 2
        told = answers[-1]
        count = rows.pop("count")
        assert count in (told, told + 1)
        assert rows.pop("torn", None) == rows.pop("torn too", None)
        assert {f"row {n}": n for n in range(max(1, count - 4), count + 1)} == rows
