"""An actor that another program erases between two statements of somebody who reads it is there, or erased."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from tests.durable.another import another_program
from tests.durable.changes import until
from tests.durable.encryption.household import SECRET, Diary, Household, Notes, waits

import koboshi as kb
from koboshi.durable.actors._erasing import erase
from koboshi.durable.actors._identity import Identity
from koboshi.durable.events._log import read_log
from koboshi.durable.stores import Session, Store

RING = kb.KeyRing({"old": b"o" * 32}, current="old")
# More than any read has.
MOST_STATEMENTS = 20


class Between:
    """A session in which something happens elsewhere before one of its statements."""

    def __init__(self, session: Session, before: Callable[[], None]) -> None:
        self._session = session
        self._before = before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if name not in ("lookup", "fetch", "insert", "upsert", "update", "run"):
            return found

        def done(*args: Any, **kwargs: Any) -> Any:
            self._before()
            return found(*args, **kwargs)

        return done


class Eraser:
    """Erases an actor from another program, before one statement of what a store is asked for next."""

    def __init__(self, url: str, who: Identity, statement: int) -> None:
        self._url = url
        self._who = who
        self._left = statement

    @property
    def has_erased(self) -> bool:
        """Whether there were so many statements."""
        return self._left <= 0

    def watch(self, patch: pytest.MonkeyPatch, store: Store) -> None:
        """Be there for what is read from now on."""
        for name in ("read", "change"):
            patch.setattr(store, name, self._watched(getattr(store, name)))

    def _watched(self, ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def asked(fn: Callable[[Any], Any], **options: Any) -> Awaitable[Any]:
            return ask(lambda session: fn(Between(session, self._before)), **options)

        return asked

    def _before(self) -> None:
        self._left -= 1
        if self._left == 0:
            # The loop that asks stands still meanwhile: the other program has one of its own.
            other = threading.Thread(target=lambda: asyncio.run(self._erase()))
            other.start()
            other.join()

    async def _erase(self) -> None:
        async with another_program(self._url) as store:
            await store.change(lambda session: erase(session, self._who))


class Read(NamedTuple):
    """One way to read an actor: what is to be there, how it is read, and what that gives; None once it is erased."""

    who: tuple[str, str]
    read: Callable[[Household], Awaitable[Any]]
    gives: Any


async def live(home: Household, type: str) -> None:
    """Have an actor of a type."""
    if type == "Diary":
        await home.diaries["a"].request("r").call(Diary.add, SECRET)
    elif type == "Notes":
        for _ in range(3):
            await home.notes["n"].call(Notes.write, SECRET)
    else:
        errand = await home.errands.start(SECRET, id="e")
        await until(lambda: waits(errand), home.errands)


async def history(home: Household) -> Any:
    return [each.event for each in await home.diaries["a"].history()] or None


async def put_again(home: Household) -> Any:
    await home.diaries["a"].request("r").put(Diary.add, SECRET)


async def status(home: Household) -> Any:
    return (await home.errands["e"].status()).waiting


def logged(name: str) -> Callable[[Household], Awaitable[Any]]:
    async def read(home: Household) -> Any:
        definition = home.notes._definition
        ask = getattr(definition.running("read").store, name)
        log = await ask(lambda session: read_log(session, definition.system, 0, 100))
        return [each.event.line for each in log.happened({definition.type: definition})] or None

    return read


READS = {
    "as_of": Read(("Diary", "a"), lambda home: home.diaries["a"].as_of(1), [SECRET]),
    "as_of of events": Read(("Notes", "n"), lambda home: home.notes["n"].as_of(3), (SECRET,) * 3),
    "as_of before a snapshot": Read(("Notes", "n"), lambda home: home.notes["n"].as_of(1), (SECRET,)),
    "fork": Read(("Diary", "a"), lambda home: home.diaries["a"].fork("a2"), 1),
    "fork of events": Read(("Notes", "n"), lambda home: home.notes["n"].fork("n2"), 3),
    "history": Read(("Diary", "a"), history, [[SECRET]]),
    "log": Read(("Notes", "n"), logged("read"), [SECRET] * 3),
    "log within a change": Read(("Notes", "n"), logged("change"), [SECRET] * 3),
    "put again": Read(("Diary", "a"), put_again, None),
    "status": Read(("Errand", "e"), status, ("event echo",)),
}


async def erased_between(url: str, patch: pytest.MonkeyPatch, name: str) -> None:
    (type, key), read, gives = READS[name]
    home = Household(url, RING)
    kind: Any = {"Diary": home.diaries, "Notes": home.notes, "Errand": home.errands._actors}[type]
    found: list[Any] = []
    async with kb.Supervisor(home.diaries.child(), home.notes.child(), home.errands.child()):
        for statement in range(1, MOST_STATEMENTS):
            await live(home, type)
            eraser = Eraser(url, kind[key].who, statement)
            with patch.context() as here:
                eraser.watch(here, kind._definition.running("test").store)
                try:
                    found.append(await read(home))
                except (kb.NoSuchRevision, kb.UnknownSaga):
                    found.append(None)
            if not eraser.has_erased:
                break
            for each in (key, f"{key}2"):
                await kind[each].erase()

    assert len(found) > 1
    assert gives == found[-1]
    assert all(each in (gives, None) for each in found), found


@pytest.mark.parametrize("name", READS)
async def test_between_two_statements_on_postgres(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await erased_between(postgres_url, monkeypatch, name)


@pytest.mark.parametrize("name", READS)
async def test_between_two_statements_on_mariadb(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await erased_between(mariadb_url, monkeypatch, name)
