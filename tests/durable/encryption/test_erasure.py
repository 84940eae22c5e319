"""An actor that is erased is gone from copies as well: with its data key, or with the key that seals that."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.durable.another import another_program
from tests.durable.encryption.household import SECRET, Diary, Household, Lock, Notes
from tests.durable.encryption.walk import Value, keys, walk

import koboshi as kb
from koboshi.durable.actors._identity import Identity

OLD, NEW = b"o" * 32, b"n" * 32
TABLES = ("actor", "event", "request", "timer", "journal")


def ring(*names: str) -> kb.KeyRing:
    known = {"old": OLD, "new": NEW}
    return kb.KeyRing({name: known[name] for name in names}, current=names[0])


def run(file: Path, text: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(text, values).fetchall()


def copy(file: Path, target: Path) -> None:
    """A backup, as it is made while a program runs."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as made:
        source.backup(made)


def restore(copied: Path, file: Path, *tables: str) -> None:
    """Put tables of a backup back, as they are there."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ATTACH ? AS copied", (str(copied),))
        with connection:
            for table in tables:
                connection.execute(f"DELETE FROM main.{table}")
                connection.execute(f"INSERT INTO main.{table} SELECT * FROM copied.{table}")


async def contents(url: str) -> tuple[list[Value], dict[Identity, bytes]]:
    async with another_program(url) as store:
        return await store.read(lambda session: (walk(session), keys(session)))


async def lived(url: str) -> None:
    home = Household(url, ring("old"))
    async with home.tree():
        await home.live()


async def erased(url: str, names: kb.KeyRing) -> None:
    """Erase one of each that the household has, and let one go on."""
    home = Household(url, names)
    async with home.tree():
        for ref in (home.diaries["a"], home.diaries["b"], home.notes["n"], home.locks["l"]):
            assert await ref.erase() > 0
        assert await home.errands._actors["e"].erase() > 0
        await home.diaries["c"].call(Diary.add, "I stay")


async def test_what_an_actor_stores_is_sealed_with_its_data_key_and_messages_with_the_ring(url: str) -> None:
    await lived(url)
    values, found = await contents(url)
    assert {f"kb_{name}" for name in TABLES} <= {each.table for each in values if each.is_by_data_key}
    for each in values:
        assert each.is_own == each.is_by_data_key
        each.open(ring("old"), found)
    assert {each.who for each in values if each.is_own} == set(found)
    assert len(set(found.values())) == len(found)


async def test_of_an_erased_actor_nothing_opens_in_a_copy_that_has_no_data_keys(
    url: str, file: Path, tmp_path: Path
) -> None:
    await lived(url)
    copy(file, tmp_path / "copy.db")
    await erased(url, ring("old"))
    values, _ = await contents(f"sqlite:///{tmp_path}/copy.db")
    _, found = await contents(url)
    own = [each for each in values if each.is_own and each.who.type != "projection:Index"]
    assert {f"kb_{name}" for name in TABLES} == {each.table for each in own}
    for each in own:
        assert each.who not in found
        with pytest.raises(kb.WrongKey, match="kb_data_key has none"):
            each.open(ring("old"), found)
    # What a projection has made of its events is the projection's, and was not erased.
    [kept] = [each for each in values if each.who.type == "projection:Index"]
    assert SECRET.encode() in kept.open(ring("old"), found)


async def test_once_the_ring_has_another_key_and_the_old_one_is_destroyed_no_whole_copy_opens(
    url: str, file: Path, tmp_path: Path
) -> None:
    await lived(url)
    copy(file, tmp_path / "copy.db")
    await erased(url, ring("old"))
    before = run(file, "SELECT actor_key, state FROM kb_actor WHERE actor_key IN ('c', 'live') ORDER BY 1")
    home = Household(url, ring("new", "old"))
    kinds = home.diaries, home.notes, home.index, home.locks, home.errands
    async with home.tree():
        for kind in kinds:
            assert () == (await kind.rotate_keys()).problems
            assert {"new"} >= set(await kind.keys_in_use())
    # Nothing but data keys was sealed anew, and the actors that are there are read.
    assert before == run(
        file, "SELECT actor_key, state FROM kb_actor WHERE actor_key IN ('c', 'live') ORDER BY 1"
    )
    home = Household(url, ring("new"))
    async with home.tree():
        assert ["I stay"] == await home.diaries["c"].call(Diary.lines)

    values, found = await contents(f"sqlite:///{tmp_path}/copy.db")
    assert {each.who for each in values if each.is_own} == set(found)
    for each in values:
        assert each.open(ring("old"), found) is not None
        with pytest.raises(
            kb.WrongKey, match="encrypted with the key 'old', which the key ring does not have"
        ):
            each.open(ring("new"), found)


async def test_erased_rows_that_are_put_back_without_their_data_key_are_refused_and_name_the_actor(
    url: str, file: Path, tmp_path: Path
) -> None:
    await lived(url)
    copy(file, tmp_path / "copy.db")
    await erased(url, ring("old"))
    restore(tmp_path / "copy.db", file, *(f"kb_{name}" for name in TABLES), "kb_tag")
    home = Household(url, ring("old"))
    rows = run(file, "SELECT * FROM kb_event ORDER BY actor_type, actor_key, seq")
    async with kb.Supervisor(
        home.diaries.child(), home.notes.child(), home.locks.child(), home.errands.child()
    ):
        refusals = {
            "Diary/a": home.diaries["a"].call(Diary.lines),
            "Notes/n": home.notes["n"].call(Notes.lines),
            "Lock/l": home.locks["l"].call(Lock.shut, "1"),
        }
        for name, refused in refusals.items():
            with pytest.raises(kb.WrongKey, match=rf"{name}.*kb_data_key has none.*restore its row"):
                await refused
        for past in (home.diaries["a"].as_of(1), home.notes["n"].history(), home.notes["n"].fork("m")):
            with pytest.raises(kb.WrongKey, match="kb_data_key has none"):
                await past
        with pytest.raises(kb.WrongKey, match=r"Errand/e.*kb_data_key has none"):
            await home.errands["e"].status()
        # No key is made for them, in the way of the one that may be restored.
        for kind in (home.diaries, home.notes, home.locks, home.errands):
            await kind.rotate_keys()
        await home.diaries["new"].call(Diary.add, "others go on")
    assert rows == run(
        file, "SELECT * FROM kb_event WHERE actor_key <> 'new' ORDER BY actor_type, actor_key, seq"
    )
    assert {"c", "live", "new"} == {row[0] for row in run(file, "SELECT actor_key FROM kb_data_key")}

    restore(tmp_path / "copy.db", file, "kb_data_key")
    home = Household(url, ring("old"))
    async with home.tree():
        await home.check()


async def test_an_actor_that_is_made_anew_has_another_data_key(url: str, file: Path, tmp_path: Path) -> None:
    made = kb.durable(Diary, store=url, keys=ring("old"))
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.add, "before")
    copy(file, tmp_path / "copy.db")
    made = kb.durable(Diary, store=url, keys=ring("old"))
    async with kb.Supervisor(made.child()):
        assert 2 == await made["a"].erase()
        assert [] == await made["a"].call(Diary.lines)
        assert [] == run(file, "SELECT * FROM kb_data_key")
        await made["a"].call(Diary.add, "after")
    restore(tmp_path / "copy.db", file, "kb_actor")
    made = kb.durable(Diary, store=url, keys=ring("old"))
    async with kb.Supervisor(made.child()):
        with pytest.raises(kb.WrongKey, match=r"Diary/a.*another data key than the one in kb_data_key"):
            await made["a"].call(Diary.lines)


async def test_a_data_key_is_its_own_actors_only_and_a_damaged_one_is_named(url: str, file: Path) -> None:
    made = kb.durable(Diary, store=url, keys=ring("old"))
    async with kb.Supervisor(made.child()):
        for key in "abcde":
            await made[key].call(Diary.add, key)
    run(
        file,
        "UPDATE kb_data_key SET wrapped = (SELECT wrapped FROM kb_data_key WHERE actor_key = 'b')"
        " WHERE actor_key = 'a'",
    )
    run(file, "UPDATE kb_data_key SET wrapped = substr(wrapped, 1, 9) WHERE actor_key = 'b'")
    run(file, "UPDATE kb_data_key SET wrapped = ? WHERE actor_key = 'c'", b"\3" + b"x" * 40)
    run(
        file,
        "UPDATE kb_data_key SET wrapped = (SELECT state FROM kb_actor WHERE actor_key = 'd') WHERE actor_key = 'd'",
    )
    expected = {
        "a": "its data key in kb_data_key does not open with the key 'old': it is damaged, of another row",
        "b": "its data key in kb_data_key is cut off after 9 bytes",
        "c": "its data key in kb_data_key is not encrypted",
        "d": "its data key in kb_data_key is sealed with a data key, so it is of another row",
    }
    made = kb.durable(Diary, store=url, keys=ring("new", "old"))
    async with kb.Supervisor(made.child()):
        for key, text in expected.items():
            with pytest.raises(kb.Corrupted, match=rf"Diary/{key}.*{text}"):
                await made[key].call(Diary.lines)
        rotated = await made.rotate_keys()
        assert (1, 4) == rotated[:2]
        for text, problem in zip(expected.values(), sorted(rotated.problems), strict=True):
            assert text in problem
        assert {"old": 4, "new": 1} == await made.keys_in_use()
        assert ["e"] == await made["e"].call(Diary.lines)


async def test_a_program_without_keys_says_so(url: str) -> None:
    await lived(url)
    home = Household(url, None)
    async with kb.Supervisor(home.diaries.child(), home.notes.child()):
        with pytest.raises(kb.WrongKey, match=r"Diary/a.*this program has no keys"):
            await home.diaries["a"].call(Diary.lines)
        with pytest.raises(kb.WrongKey, match=r"Notes/n.*this program has no keys"):
            await home.notes["n"].call(Notes.lines)


async def test_a_key_that_the_ring_has_not_is_named(url: str) -> None:
    await lived(url)
    home = Household(url, ring("new"))
    async with kb.Supervisor(home.diaries.child(), home.notes.child()):
        with pytest.raises(kb.WrongKey, match=r"Diary/a.*its data key is encrypted with the key 'old'"):
            await home.diaries["a"].call(Diary.lines)
        with pytest.raises(kb.WrongKey, match=r"Notes/n.*its data key is encrypted with the key 'old'"):
            await home.notes["n"].call(Notes.lines)
