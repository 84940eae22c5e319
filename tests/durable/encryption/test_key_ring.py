"""What is stored is encrypted, bound to its row, sealed anew with another key, and can be taken away."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.durable.changes import delivered

import koboshi as kb
from koboshi.durable.actors._identity import Identity

SECRET = "the-canary-sings-at-dawn"
OLD, NEW = b"o" * 32, b"n" * 32


class Diary(kb.DurableActor[list[str]]):
    @kb.message
    def add(self, line: str) -> str:
        self.state.append(line)
        return line

    @kb.message
    def tell(self, key: str, line: str) -> None:
        self.send(diaries_of(self)[key], Diary.add, line)

    @kb.message
    def break_with(self, line: str) -> None:
        self.state.append(line)
        raise ValueError("broken")

    @kb.query
    def lines(self) -> list[str]:
        return self.state


def diaries_of(_: Diary) -> kb.Durable[Diary]:
    return diaries[-1]


diaries: list[kb.Durable[Diary]] = []


def kind(url: str, ring: kb.KeyRing | None = None, **options: Any) -> kb.Durable[Diary]:
    made = kb.durable(Diary, store=url, type="Diary", keys=ring, **options)
    diaries.append(made)
    return made


def ring(*names: str, **options: Any) -> kb.KeyRing:
    keys = {"old": OLD, "new": NEW}
    return kb.KeyRing({name: keys[name] for name in names}, current=names[0], **options)


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


async def test_a_secret_is_nowhere_in_the_files_nor_in_what_is_logged(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = kind(url, ring("new"), history=True)
    async with kb.Supervisor(made.child()):
        await made["a"].request("r").call(Diary.add, SECRET)
        await made["a"].call(Diary.tell, "nobody-yet", SECRET)
        await made["b"].put(Diary.add, SECRET)
        await delivered(made)
        assert 2 == made.statistics().delivered
        assert b"kb_actor" in contents(tmp_path)
        assert SECRET.encode() not in contents(tmp_path)
        assert [SECRET] == await made["b"].call(Diary.lines)
    assert SECRET.encode() not in contents(tmp_path)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("other", [ring("old"), None], ids=["another ring", "no ring"])
async def test_a_key_that_is_missing_keeps_the_actor_down_and_says_which(
    url: str, other: kb.KeyRing | None
) -> None:
    made = kind(url, ring("new"))
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.add, SECRET)
    made = kind(url, other)
    async with kb.Supervisor(made.child()):
        with pytest.raises(kb.WrongKey, match="Diary/a") as caught:
            await made["a"].call(Diary.lines)
        assert "'new'" in str(caught.value) or "no keys" in str(caught.value)
        await made["b"].call(Diary.add, "others go on")


async def test_another_key_under_the_same_id_opens_nothing(url: str) -> None:
    made = kind(url, kb.KeyRing({"k": OLD}, current="k"))
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.add, SECRET)
    made = kind(url, kb.KeyRing({"k": NEW}, current="k"))
    async with kb.Supervisor(made.child()):
        with pytest.raises(kb.Corrupted, match="another key of the same id"):
            await made["a"].call(Diary.lines)


async def test_rows_that_were_exchanged_or_changed_do_not_open(url: str, file: Path) -> None:
    made = kind(url, ring("new"))
    async with kb.Supervisor(made.child()):
        for key in "abc":
            await made[key].call(Diary.add, key)
    states = dict(run(file, "SELECT actor_key, state FROM kb_actor"))
    run(file, "UPDATE kb_actor SET state = ? WHERE actor_key = 'a'", states["b"])
    run(file, "UPDATE kb_actor SET state = ? WHERE actor_key = 'b'", states["b"][:-1] + b"\0")

    made = kind(url, ring("new"))
    async with kb.Supervisor(made.child()):
        for key in "ab":
            with pytest.raises(kb.Corrupted):
                await made[key].call(Diary.lines)
        assert ["c"] == await made["c"].call(Diary.lines)


async def test_plain_rows_are_read_and_sealed_when_they_are_written(url: str, file: Path) -> None:
    made = kind(url)
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.add, "one")
        await made["b"].call(Diary.add, "one")
    made = kind(url, ring("new"))
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.add, "two")
        assert ["one", "two"] == await made["a"].call(Diary.lines)
        assert {"new": 1, None: 1} == await made.keys_in_use()
    made = kind(url, ring("new", allow_plain=False))
    async with kb.Supervisor(made.child()):
        with pytest.raises(kb.WrongKey, match="allow_plain"):
            await made["b"].call(Diary.lines)


async def test_keys_are_rotated_while_the_program_goes_on(url: str) -> None:
    keys = [f"k{number:03}" for number in range(300)]
    made = kind(url, ring("old"), history=True)
    async with kb.Supervisor(made.child()):
        await asyncio.gather(*(made[key].call(Diary.add, "one") for key in keys))
    made = kind(url, ring("new", "old"), history=True)
    async with kb.Supervisor(made.child()):
        rotating = asyncio.ensure_future(made.rotate_keys(portion=50))
        await asyncio.gather(*(made[key].call(Diary.add, "two") for key in keys))
        await rotating
        await made.rotate_keys()
        assert {"new": 300} == await made.keys_in_use()
    made = kind(url, ring("new"), history=True)
    async with kb.Supervisor(made.child()):
        for key in keys:
            assert ["one", "two"] == await made[key].call(Diary.lines)
        assert ["one"] == (await made["k000"].as_of(1))


async def test_an_erased_actor_leaves_no_row_and_starts_anew(url: str, file: Path) -> None:
    made = kind(url, ring("new"), history=True)
    async with kb.Supervisor(made.child()):
        await made["a"].request("r").call(Diary.add, SECRET)
        await made["keep"].call(Diary.add, "kept")
        assert 4 == await made["a"].erase()
        for table in ("kb_actor", "kb_event", "kb_request", "kb_data_key"):
            assert [] == run(file, f"SELECT 1 FROM {table} WHERE actor_key = 'a'")

        assert [] == await made["a"].call(Diary.lines)
        assert ["kept"] == await made["keep"].call(Diary.lines)


@pytest.mark.parametrize(
    ("keys", "current", "text"),
    [
        ({"a": b"short"}, "a", "the key 'a' takes 32 bytes, got 5"),
        ({"a": "x" * 32}, "a", "the key 'a' takes 32 bytes, got a str"),
        ({"a": OLD}, "b", "current is the id of one of the keys"),
        ({"": OLD}, "", "the id of a key"),
        ({}, "a", "the ids are: none"),
    ],
)
def test_a_bad_key_is_named_and_never_shown(keys: Any, current: str, text: str) -> None:
    with pytest.raises(kb.UsageError, match=text) as caught:
        kb.KeyRing(keys, current=current)
    assert "short" not in str(caught.value)


def test_a_ring_shows_its_ids_only() -> None:
    assert "<KeyRing new, old; current new>" == repr(ring("new", "old"))
    with pytest.raises(kb.UsageError, match=r"keys takes a kb\.KeyRing"):
        kb.durable(Diary, store="memory://", keys=OLD)  # type: ignore[arg-type]


WHO = Identity("s", "t", "k")


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20))
def test_what_is_sealed_opens_in_its_own_place_only(blob: bytes, number: str) -> None:
    keys = ring("new")
    sealed, key_id = keys.seal(WHO, "state", number, blob)
    assert ("new", blob) == (key_id, keys.open(WHO, "state", number, sealed))
    for who, what, other in (
        (Identity("S", "t", "k"), "state", number),
        (Identity("s", "T", "k"), "state", number),
        (Identity("s", "t", "K"), "state", number),
        (Identity("st", "", "k"), "state", number),
        (WHO, "event", number),
        (WHO, "state", number + "0"),
    ):
        with pytest.raises(kb.Corrupted):
            keys.open(who, what, other, sealed)
