"""Dead letters: they are listed, made ready again and forgotten, and what is made ready keeps its order."""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar

import pytest
from tests.durable.another import another_program
from tests.durable.changes import delivered, until

import koboshi as kb
from koboshi.durable.actors import _delivery
from koboshi.durable.actors._dead_letter import Requeue

from .test_restarts import kind_of


class Reader(kb.DurableActor[list[str]]):
    #: What breaks its handler; outside of the state, so that a test can mend it.
    poison: ClassVar[set[str]] = set()
    gate: ClassVar[asyncio.Event | None] = None
    begun: ClassVar[asyncio.Event] = asyncio.Event()

    @kb.message
    async def read(self, text: str) -> None:
        if self.gate is not None and text.startswith("slow"):
            self.begun.set()
            await self.gate.wait()
        if text in self.poison:
            raise ValueError(f"cannot read {text}")
        self.state = [*self.state, text]

    @kb.query
    def seen(self) -> list[str]:
        return self.state


class Writer(kb.DurableActor[None]):
    def __init__(self, readers: Any) -> None:
        self.readers = readers

    @kb.message
    def write(self, *letters: str) -> None:
        """Each is the key of a reader and then what to send to it, word by word."""
        for letter in letters:
            key, *texts = letter.split(" ")
            for text in texts:
                self.send(self.readers[key], Reader.read, text)


@pytest.fixture(autouse=True)
def _healthy() -> None:
    Reader.poison, Reader.gate, Reader.begun = set(), None, asyncio.Event()


def both(store: str, **options: Any) -> tuple[kb.Durable[Writer], kb.Durable[Reader]]:
    readers = kb.durable(Reader, store=store, max_attempts=1, **options)
    return kb.durable(kb.child(Writer, readers), store=store, **options), readers


async def seen(readers: kb.Durable[Reader], key: str, count: int) -> list[str]:
    """What a reader has seen, once it is so much."""

    async def enough() -> list[str] | None:
        found = await readers[key].call(Reader.seen)
        return found if len(found) >= count else None

    return await until(enough, readers)


async def all_of(readers: kb.Durable[Reader], *args: Any, **options: Any) -> list[kb.DeadLetter]:
    return [each async for each in readers.dead_letters(*args, **options)]


async def listed_requeued_and_discarded(store: str, **options: Any) -> None:
    writers, readers = both(store, **options)
    Reader.poison = {"1", "3", "5"}
    async with kb.Supervisor(readers.child(), writers.child()):
        before = time.time()
        await writers["w"].call(Writer.write, "a 1 2 3 4", "b 1 2 3")
        await readers["a"].put(Reader.read, "5")
        await delivered(readers)

        letters = await all_of(readers)
        assert ["a", "a", "b", "b", "a"] == [each.key for each in letters]
        first = letters[0]
        assert ("Reader/a", "Writer/w", "read", 1) == (
            first.target,
            first.source,
            first.message,
            first.attempts,
        )
        assert letters[-1].source.startswith("put/Reader/a/")
        assert abs(first.died_at - before) < 60.0
        assert first.report.rstrip().endswith("ValueError: cannot read 1")
        assert [each for each in letters if each.key == "b"] == await all_of(readers, "b")
        assert letters[:3] == await all_of(readers, limit=3)
        assert letters[4:] == [each for each in await all_of(readers, "a") if each.source != "Writer/w"]

        Reader.poison = set()
        assert 1 == await readers.requeue(letters[2], letters[2])
        assert ["2", "1"] == await seen(readers, "b", 2)
        assert 0 == await readers.requeue(letters[2]) == await readers.discard(letters[2])
        assert 1 == await readers.discard(letters[4])
        assert 2 == await readers.requeue(key="a")
        assert ["2", "4", "1", "3"] == await seen(readers, "a", 4)
        assert 1 == await readers.discard(key="b")
        assert [] == await all_of(readers)
        assert 0 == await readers.requeue() == await readers.discard(key="nobody")


async def test_they_are_listed_and_made_ready_and_forgotten(store: str) -> None:
    await listed_requeued_and_discarded(store)


async def test_they_are_listed_and_made_ready_and_forgotten_on_postgres(postgres_url: str) -> None:
    await listed_requeued_and_discarded(postgres_url)


async def test_they_are_listed_and_made_ready_and_forgotten_on_mariadb(mariadb_url: str) -> None:
    await listed_requeued_and_discarded(mariadb_url)


async def test_sealed_reports_are_opened(store: str) -> None:
    keys = kb.KeyRing({"k1": b"1" * 32}, current="k1")
    await listed_requeued_and_discarded(store, keys=keys)


async def test_a_report_that_does_not_open_does_not_spoil_the_others(url: str) -> None:
    writers, readers = both(url, keys=kb.KeyRing({"k1": b"1" * 32}, current="k1"))
    Reader.poison = {"1", "2"}
    async with kb.Supervisor(readers.child(), writers.child()), another_program(url) as other:
        await writers["w"].call(Writer.write, "a 1 2")
        await delivered(readers)
        text = "UPDATE kb_outbox SET report = 'sealed:AAAA' WHERE seq = (SELECT min(seq) FROM kb_outbox)"
        await other.change(lambda session: session.execute(text, {}))

        first, second = await all_of(readers)
        assert first.report.startswith("the report cannot be shown: ")
        assert "cannot read 2" in second.report


async def test_pages_of_them_are_read_one_after_the_other(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("koboshi.durable.actors._handle._PAGE", 2)
    writers, readers = both(store)
    Reader.poison = set("12345")
    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["v"].call(Writer.write, "a 1 2")
        await writers["w"].call(Writer.write, "a 3 4 5")
        await delivered(readers)

        letters = await all_of(readers)
        assert ["Writer/v"] * 2 + ["Writer/w"] * 3 == [each.source for each in letters]
        assert letters[:4] == await all_of(readers, limit=4)
        assert letters[:3] == await all_of(readers, "a", limit=3)


async def test_what_is_newer_and_on_its_way_comes_before_what_is_requeued_and_what_is_sent_then_after_it(
    store: str,
) -> None:
    writers, readers = both(store)
    Reader.poison, Reader.gate = {"1", "2"}, asyncio.Event()
    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["w"].call(Writer.write, "a 1 2 slow3 4")
        await Reader.begun.wait()
        Reader.poison = set()
        # The reader is busy with the third, and the fourth is in its mailbox.
        assert 2 == await readers.requeue(key="a")
        await writers["w"].call(Writer.write, "a 5")
        Reader.gate.set()

        assert ["slow3", "4", "1", "2", "5"] == await seen(readers, "a", 5)


async def test_what_is_requeued_comes_before_what_is_newer_and_waits_for_the_kind(url: str) -> None:
    writers, readers = both(url)
    Reader.poison = {"1", "2"}
    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["w"].call(Writer.write, "a 1 2 3")
        await delivered(readers)
    async with kb.Supervisor(writers.child()):
        await writers["w"].call(Writer.write, "a 4 5")
    Reader.poison = set()
    async with another_program(url) as other:
        work, definition = Requeue("a", ()), readers._definition
        assert 2 == await other.change(lambda session: work.perform(session, definition))
    async with kb.Supervisor(readers.child(), writers.child()):
        assert ["3", "1", "2", "4", "5"] == await seen(readers, "a", 5)


async def test_another_program_requeues_for_the_one_that_has_the_actor(url: str) -> None:
    writers, readers = both(url)
    Reader.poison = {"1"}
    async with kb.Supervisor(readers.child(), writers.child()), another_program(url) as other:
        await writers["w"].call(Writer.write, "a 1 2")
        await delivered(readers)
        Reader.poison = set()
        [letter] = await all_of(readers)
        work, definition = Requeue(None, ((letter.source, letter.seq),)), readers._definition
        assert 1 == await other.change(lambda session: work.perform(session, definition))

        assert ["2", "1"] == await seen(readers, "a", 2)


async def test_what_is_behind_one_that_dies_keeps_its_order_over_portions(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "_PORTION", 2)
    writers, readers = both(store)
    Reader.poison, Reader.gate = {"1"}, asyncio.Event()
    async with kb.Supervisor(readers.child(), writers.child()):
        # What becomes of the first is being written while a portion with the fourth is read, and the next is not.
        await writers["w"].call(Writer.write, "a 1", "b slow2 slow3", "a 4 5")
        assert ["4", "5"] == await seen(readers, "a", 2)
        Reader.gate.set()


async def test_a_look_in_portions_that_is_past_one_of_them_begins_anew(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "_PORTION", 2)
    writers, readers = both(store)
    Reader.poison, Reader.gate = {"1", "4"}, asyncio.Event()
    async with kb.Supervisor(readers.child(), writers.child()):
        # Between the two that die, two that stay on their way.
        await writers["w"].call(Writer.write, "a 1", "b slow2 slow3", "a 4 5")
        assert ["5"] == await seen(readers, "a", 1)
        Reader.poison = set()
        kind = kind_of(readers)
        await until(lambda: not kind.deliveries._dirty and not kind.deliveries._looking, readers)
        # The first portion ends between the two. They are made ready in the group in which the second one is read,
        # and writes of a group come first.
        kind.deliveries._look()
        await kind.store.read(lambda _: None)
        assert 2 == await readers.requeue(key="a")

        assert ["5", "1", "4"] == await seen(readers, "a", 3)
        Reader.gate.set()


async def test_the_dead_letters_of_an_actor_that_is_erased_are_gone(store: str) -> None:
    writers, readers = both(store)
    Reader.poison = {"1"}
    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["w"].call(Writer.write, "a 1", "b 1")
        await delivered(readers)
        letters = await all_of(readers)
        await readers["a"].erase()

        assert letters[1:] == await all_of(readers)
        assert 1 == await readers.requeue(*letters)


async def test_a_kind_has_its_own_only(store: str) -> None:
    writers, readers = both(store)
    Reader.poison = {"1"}
    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["w"].call(Writer.write, "a 1")
        await delivered(readers)
        [letter] = await all_of(readers)

        assert [] == [each async for each in writers.dead_letters()]
        assert 0 == await writers.requeue(letter) == await writers.discard(letter)
        assert 0 == await writers.requeue(key="a") == await writers.discard(key="a")
        assert [letter] == await all_of(readers)


async def test_what_is_no_dead_letter_is_refused(store: str) -> None:
    _, readers = both(store)
    letter = kb.DeadLetter("Reader/a", "a", "Writer/w", 1, "read", 1, 0.0, "")
    wrong: Any = "a"
    async with kb.Supervisor(readers.child()):
        with pytest.raises(kb.UsageError, match="requeue takes dead letters as dead_letters"):
            await readers.requeue(wrong)
        with pytest.raises(kb.UsageError, match=r"discard takes dead letters or the key .* got both"):
            await readers.discard(letter, key="a")
        with pytest.raises(kb.UsageError, match="limit"):
            await all_of(readers, limit=0)
        with pytest.raises(kb.UsageError, match="key"):
            await all_of(readers, "")
    with pytest.raises(kb.NotRunning):
        await all_of(readers)
