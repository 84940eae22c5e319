"""A rotation of keys and an erasure that are killed at each boundary of their store.

python -m tests.durable.encryption.crash_program FOLDER keyed|earlier STEP
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.durable.boundaries import connect, each_boundary, forked, passed
from tests.durable.encryption.household import SECRET, Diary, Household, Notes
from tests.durable.encryption.walk import make_earlier

import koboshi as kb
from koboshi.durable.stores import Engine, SqliteEngine

MADE = Path(sys.argv[1])
FOLDER = MADE / "at work"
OLD, NEW = b"o" * 32, b"n" * 32
BOTH = kb.KeyRing({"new": NEW, "old": OLD}, current="new")


def engine() -> Engine:
    return SqliteEngine(str(FOLDER / "home.db"), connect=connect)


async def make() -> None:
    """A household from before the rotation, in which two are to be erased."""
    url = f"sqlite:///{MADE}/home.db"
    ring = kb.KeyRing({"old": OLD}, current="old")
    home = Household(url, ring)
    async with home.tree():
        await home.live()
        await home.diaries["gone"].call(Diary.add, SECRET)
        await home.notes["gone"].call(Notes.write, SECRET)
        await home.index.wait_for(home.notes["gone"])
    if sys.argv[2] == "earlier":
        await make_earlier(url, ring)


def household(ring: kb.KeyRing) -> Household:
    store: Any = engine
    return Household(store, ring)


async def read(ring: kb.KeyRing) -> None:
    """Each actor can be read; one that is to be erased is whole or not there."""
    home = household(ring)
    async with kb.Supervisor(home.diaries.child(), home.notes.child(), home.errands.child()):
        assert [SECRET] == await home.diaries["a"].as_of(1)
        assert (SECRET,) * 3 == await home.notes["n"].as_of(3)
        assert ("event echo",) == (await home.errands["e"].status()).waiting
        assert await home.diaries["gone"].call(Diary.lines) in ([SECRET], [])
        assert len(await home.diaries["gone"].history()) == len(await home.diaries["gone"].call(Diary.lines))
        assert await home.notes["gone"].call(Notes.lines) in ([SECRET], [])
        assert len(await home.notes["gone"].history()) == len(await home.notes["gone"].call(Notes.lines))


async def run() -> str:
    file = FOLDER / "home.db"
    if file.exists():
        # Somebody was killed here.
        await read(BOTH)
    else:
        shutil.copy(MADE / "home.db", file)
    home = household(BOTH)
    kinds: Any = home.diaries, home.notes, home.index, home.locks, home.errands
    async with home.tree():
        for kind in kinds:
            assert (0, ()) == (await kind.rotate_keys(portion=1))[1:]
        for ref in (home.diaries["gone"], home.notes["gone"]):
            await ref.erase()
        used = {kind_of: await kind.keys_in_use() for kind_of, kind in enumerate(kinds)}
    await read(kb.KeyRing({"new": NEW}, current="new", allow_plain=False))
    return json.dumps(sorted({str(key) for each in used.values() for key in each}))


async def opened() -> str:
    shutil.copy(MADE / "home.db", FOLDER / "home.db")
    async with household(BOTH).tree():
        return str(passed())


if __name__ == "__main__":
    FOLDER.mkdir()
    asyncio.run(make())
    first = int(forked(opened, -1) or 1)
    for at, killed, outcome in each_boundary(FOLDER, run, int(sys.argv[3]), first):
        print(json.dumps({"at": at, "killed": killed, "keys": json.loads(outcome)}), flush=True)
