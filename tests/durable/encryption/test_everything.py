"""Whatever a durable actor stores is sealed, is sealed anew by a rotation, and one damaged value stops nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.durable.encryption.household import SECRET, Diary, Household
from tests.durable.encryption.walk import make_earlier

import koboshi as kb

OLD, NEW = b"o" * 32, b"n" * 32


def contents(folder: Path) -> bytes:
    """All bytes of all files: the database, its log, what stands beside it."""
    return b"".join(each.read_bytes() for each in folder.iterdir())


def run(file: Path, text: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(text, values).fetchall()
    finally:
        connection.close()


async def test_nothing_that_durable_actors_store_can_be_read_without_the_key(
    url: str, file: Path, tmp_path: Path
) -> None:
    home = Household(url, kb.KeyRing({"new": NEW}, current="new"))
    async with home.tree():
        await home.live()
        for table in ("actor", "event", "request", "outbox", "timer", "journal"):
            assert [] != run(file, f"SELECT 1 FROM kb_{table}"), table
        assert [(1,)] == run(file, "SELECT count(*) FROM kb_outbox WHERE report IS NOT NULL")
        assert SECRET.encode() not in contents(tmp_path)
    assert SECRET.encode() not in contents(tmp_path)


async def test_without_keys_the_secret_is_in_every_table(url: str, file: Path) -> None:
    home = Household(url, None)
    async with home.tree():
        await home.live()
    for table, column in (
        *(("actor", "state"), ("event", "payload"), ("request", "reply"), ("outbox", "payload")),
        *(("outbox", "report"), ("timer", "payload"), ("journal", "payload")),
    ):
        rows = run(file, f"SELECT {column} FROM kb_{table}")
        assert any(SECRET in str(row[0]) for row in rows), (table, column)


async def rotated_and_read(url: str) -> None:
    home = Household(url, kb.KeyRing({"old": OLD}, current="old"))
    async with home.tree():
        await home.live()
    home = Household(url, kb.KeyRing({"new": NEW, "old": OLD}, current="new"))
    kinds = home.diaries, home.notes, home.index, home.locks, home.errands
    async with home.tree():
        for kind in kinds:
            assert (await kind.keys_in_use())["old"] > 0
            rotated = await kind.rotate_keys(portion=1)
            assert (0, ()) == rotated[1:]
            assert rotated.sealed > 0
            assert {"new"} == set(await kind.keys_in_use())
            assert (0, 0, ()) == await kind.rotate_keys()
    home = Household(url, kb.KeyRing({"new": NEW}, current="new", allow_plain=False))
    async with home.tree():
        await home.check()


async def test_after_a_rotation_the_old_key_may_go_and_all_is_read(url: str) -> None:
    await rotated_and_read(url)


async def test_after_a_rotation_the_old_key_may_go_and_all_is_read_on_postgres(postgres_url: str) -> None:
    await rotated_and_read(postgres_url)


async def test_after_a_rotation_the_old_key_may_go_and_all_is_read_on_mariadb(mariadb_url: str) -> None:
    await rotated_and_read(mariadb_url)


async def test_a_value_that_does_not_open_is_named_and_the_others_are_sealed_anew(
    url: str, file: Path
) -> None:
    home = Household(url, kb.KeyRing({"old": OLD}, current="old"))
    async with home.tree():
        await home.live()
        for key in "cdef":
            await home.diaries[key].call(Diary.add, key)
    await make_earlier(url, kb.KeyRing({"old": OLD}, current="old"))
    run(file, "UPDATE kb_actor SET state = substr(state, 1, 1) WHERE actor_key = 'c'")
    run(file, "UPDATE kb_actor SET state = 'text' WHERE actor_key = 'd'")
    run(file, "UPDATE kb_request SET reply = substr(reply, 1, 9) WHERE request_id = 'r'")
    home = Household(url, kb.KeyRing({"new": NEW, "old": OLD}, current="new"))
    async with home.tree():
        rotated = await home.diaries.rotate_keys(portion=2)
        assert 3 == rotated.skipped
        assert ["Diary/c", "Diary/d", "Diary/a"] == [
            next(name for name in ("Diary/c", "Diary/d", "Diary/a") if name in each)
            for each in rotated.problems
        ]
        in_use = await home.diaries.keys_in_use()
        assert 3 == in_use["old"]
        for key in "ef":
            assert [key] == await home.diaries[key].call(Diary.lines)
        with pytest.raises(kb.Corrupted, match="cut off after 1 bytes") as caught:
            await home.diaries["c"].call(Diary.lines)
        assert type(caught.value) is kb.Corrupted


@pytest.mark.parametrize(
    ("column", "value"), [("codec", "'json'"), ("schema_version", "0")], ids=["codec", "schema version"]
)
@pytest.mark.parametrize("keys", [None, {"new": NEW}], ids=["checksum", "keys"])
async def test_how_a_state_is_to_be_read_is_part_of_what_it_is_bound_to(
    url: str, file: Path, column: str, value: str, keys: dict[str, bytes] | None
) -> None:
    ring = None if keys is None else kb.KeyRing(keys, current="new")
    home = Household(url, ring)
    async with kb.Supervisor(home.diaries.child()):
        await home.diaries["a"].call(Diary.add, SECRET)
    run(file, f"UPDATE kb_actor SET {column} = {value}")
    run(file, f"UPDATE kb_event SET {column} = {value}")
    home = Household(url, ring)
    async with kb.Supervisor(home.diaries.child()):
        with pytest.raises(kb.Corrupted, match="does not"):
            await home.diaries["a"].call(Diary.lines)
        with pytest.raises(kb.Corrupted, match="does not"):
            await home.diaries["a"].as_of(1)


@pytest.mark.parametrize("format", [0, 1])
async def test_what_was_written_before_that_is_refused_and_says_so(url: str, file: Path, format: int) -> None:
    ring = kb.KeyRing({"new": NEW}, current="new")
    home = Household(url, ring)
    async with kb.Supervisor(home.diaries.child()):
        await home.diaries["a"].call(Diary.add, SECRET)
    run(file, "UPDATE kb_actor SET state = ?", bytes([format]) + b"x" * 50)
    home = Household(url, ring)
    async with kb.Supervisor(home.diaries.child()):
        with pytest.raises(kb.Corrupted, match=f"has the format {format}, from before"):
            await home.diaries["a"].call(Diary.lines)


async def test_a_forwarded_reply_to_a_dead_letter_tells_the_last_line_of_its_report(url: str) -> None:
    home = Household(url, kb.KeyRing({"new": NEW}, current="new"))
    async with kb.Supervisor(home.diaries.child()):
        with pytest.raises(kb.Refused, match="ValueError: too sad"):
            await home.diaries["a"].call(Diary.pass_failure, "b", "too sad")


async def test_a_message_is_sealed_with_the_keys_of_its_target(url: str, tmp_path: Path) -> None:
    home = Household(url, kb.KeyRing({"new": NEW}, current="new"))
    plain = kb.durable(Diary, store=url, type="Plain")
    async with kb.Supervisor(plain.child()):
        await plain["p"].call(Diary.send_on, "b", SECRET)
    # The target does not run, so its message waits.
    assert SECRET.encode() not in contents(tmp_path)
    async with kb.Supervisor(home.diaries.child()):
        while not home.diaries.statistics().delivered:
            await home.diaries["b"].call(Diary.lines)
        assert [SECRET] == await home.diaries["b"].call(Diary.lines)


async def test_a_message_waits_for_a_program_that_has_its_key_and_is_no_dead_letter(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    changed = kb.KeyRing({"new": NEW, "old": OLD}, current="new")
    Household(url, changed)
    plain = kb.durable(Diary, store=url, type="Plain")
    async with kb.Supervisor(plain.child()):
        for line in ("first", "second"):
            await plain["p"].call(Diary.send_on, "b", line)
    # A host where the key has not been changed yet.
    home = Household(url, kb.KeyRing({"old": OLD}, current="old"))
    async with kb.Supervisor(home.diaries.child()):
        await home.diaries["b"].call(Diary.add, "before")
        while "a message waits, with what is behind it" not in caplog.text:
            assert ["before"] == await home.diaries["b"].call(Diary.lines)
            assert 0 == home.diaries.statistics().dead_letters
    home = Household(url, changed)
    async with kb.Supervisor(home.diaries.child()):
        while home.diaries.statistics().delivered < 2:
            await home.diaries["b"].call(Diary.lines)
        assert ["before", "first", "second"] == await home.diaries["b"].call(Diary.lines)
