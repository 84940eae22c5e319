"""`koboshi db`: looking at the tables of a store, and bringing them up to date."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.durable.changes import until

import koboshi as kb
from koboshi.durable.stores._tables import SCHEMA_VERSION, TABLES

pytestmark = pytest.mark.slow


def koboshi(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "koboshi", "db", *arguments], capture_output=True, text=True, timeout=30
    )


def check_both_verbs(url: str) -> None:
    """What holds for a database without tables, whatever it is."""
    before = koboshi("check", url)
    made = koboshi("migrate", url)
    again = koboshi("migrate", url)
    after = koboshi("check", url)

    assert 1 == before.returncode
    assert 2 == len(before.stdout.splitlines())
    assert (
        "empty: the database has no tables of koboshi; the first program that uses it makes them, or: "
        in (before.stdout)
    )
    assert (0, "") == (made.returncode, made.stderr)
    assert f"made the tables, of version {SCHEMA_VERSION}" in made.stdout
    assert f"already of version {SCHEMA_VERSION}" in again.stdout
    assert 0 == after.returncode
    assert f"version: {SCHEMA_VERSION}, needed: {SCHEMA_VERSION}\nmissing: nothing\n" in after.stdout
    assert {f"{name}: 0" for name in TABLES} <= set(after.stdout.splitlines())


def test_a_file_is_made_and_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    said = koboshi("check", f"sqlite:///{path}").stderr
    assert (
        f"there is no such file; correct the path, or make it: koboshi db migrate sqlite:///{path}\n" in said
    )
    path.touch()
    check_both_verbs(f"sqlite:///{path}")


class Plain(kb.DurableActor[int]):
    @kb.message
    def fail(self) -> None:
        raise ValueError("no")

    @kb.message
    def count(self) -> None:
        self.state += 1


@kb.task
def nothing() -> None: ...


async def leave_some(url: str) -> None:
    """Tasks, a dead letter and an actor with a data key."""
    queue = kb.Queue("mails", store=url)
    ring = kb.KeyRing({"2026": b"k" * 32}, current="2026")
    plain = kb.durable(Plain, store=url, keys=ring, max_attempts=1)
    async with kb.Supervisor(queue.producer(), plain.child()):
        await queue.put(nothing)
        await (await queue.put(nothing)).cancel()
        await plain["a"].call(Plain.count)
        await plain["a"].put(Plain.fail)
        await until(lambda: plain.statistics().dead_letters, plain)


def check_what_is_there(url: str) -> None:
    asyncio.run(leave_some(url))
    said = koboshi("check", url).stdout.splitlines()
    found = json.loads(koboshi("check", "--json", url).stdout)

    assert [
        "tasks of mails: cancelled 1, ready 1",
        "dead letters of default/Plain: 1",
        "data keys sealed with: 2026 1",
    ] == said[-3:]
    assert {"mails": {"cancelled": 1, "ready": 1}} == found["tasks"]
    assert ({"default/Plain": 1}, {"2026": 1}) == (found["dead_letters"], found["data_keys"])
    assert (True, [], 2) == (found["usable"], found["missing"], found["counts"]["kb_task"])


def test_what_an_operator_wants_to_know_of_a_file(tmp_path: Path) -> None:
    check_what_is_there(f"sqlite:///{tmp_path}/store.db")


def test_what_an_operator_wants_to_know_of_postgresql(postgres_url: str) -> None:
    check_what_is_there(postgres_url)


def test_what_an_operator_wants_to_know_of_mariadb(mariadb_url: str) -> None:
    check_what_is_there(mariadb_url)


def test_the_tables_of_postgresql_are_made_and_looked_at(postgres_url: str) -> None:
    check_both_verbs(postgres_url)
    assert "missing: table kb_host" not in koboshi("check", postgres_url).stdout


def test_the_tables_of_mariadb_are_made_and_looked_at(mariadb_url: str) -> None:
    check_both_verbs(mariadb_url)


def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    found = koboshi("check", "postgresql://ann:s3cret@127.0.0.1:1/db")

    assert 1 == found.returncode
    assert "cannot be reached" in found.stderr
    assert 1 == len(found.stderr.splitlines())
    assert "s3cret" not in found.stdout + found.stderr


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ann, " * 100)

    for verb in ("check", "migrate"):
        assert "not an SQLite database" in koboshi(verb, f"sqlite:///{path}").stderr
    assert "Dear Ann, " * 100 == path.read_text()


def test_a_store_in_memory_has_nothing_to_look_at() -> None:
    assert "lasts no longer than its program" in koboshi("check", "memory://x").stderr


def test_without_a_verb_it_names_its_verbs_in_one_line() -> None:
    found = koboshi()

    assert (2, "") == (found.returncode, found.stdout)
    assert "koboshi db: a command is missing: check, migrate; or --help\n" == found.stderr
