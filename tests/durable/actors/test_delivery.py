"""Messages of the outbox: once, in order, and past one that cannot be handled."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from tests.durable.changes import delivered, until

import koboshi as kb
from koboshi.durable.actors._claim import Claim, Release
from koboshi.durable.actors._identity import Identity
from koboshi.durable.stores import Store, engine_of
from koboshi.testing import run_virtual, wait_idle

from .accounts import Account, bank_of


class Inbox(msgspec.Struct):
    seen: list[str] = []


class Reader(kb.DurableActor[Inbox]):
    #: What breaks its handler; outside of the state, so that a test can mend it.
    poison: ClassVar[set[str]] = set()
    tries: ClassVar[list[str]] = []

    @kb.message
    def read(self, text: str) -> None:
        self.tries.append(text)
        self.state.seen.append(text)
        if text in self.poison:
            raise ValueError(f"cannot read {text}")
        if text == "refuse":
            raise kb.Refused("not this one")

    @kb.query
    def seen(self) -> list[str]:
        return self.state.seen


class Writer(kb.DurableActor[int]):
    def __init__(self, readers: Any) -> None:
        self.readers = readers

    def initial(self) -> int:
        return 0

    @kb.message
    def write(self, to: str, *texts: str) -> None:
        for text in texts:
            self.send(self.readers[to], Reader.read, text)

    @kb.message
    def write_and_break(self, to: str, text: str) -> None:
        self.send(self.readers[to], Reader.read, text)
        raise ValueError("broken")


@pytest.fixture(autouse=True)
def _healthy() -> None:
    Reader.poison = set()
    Reader.tries = []


def both(store: str, **options: Any) -> tuple[kb.Durable[Writer], kb.Durable[Reader]]:
    readers = kb.durable(Reader, store=store, **options)
    return kb.durable(kb.child(Writer, readers), store=store), readers


def outbox(file: Path) -> list[tuple[str, str, str]]:
    """State, message and report of what is in the outbox."""
    connection = sqlite3.connect(file)
    try:
        return connection.execute("SELECT state, message, report FROM kb_outbox").fetchall()
    finally:
        connection.close()


async def seen(readers: kb.Durable[Reader], key: str, count: int) -> list[str]:
    """What a reader has seen, once it is so much."""

    async def enough() -> list[str] | None:
        found = await readers[key].call(Reader.seen)
        return found if len(found) >= count else None

    return await until(enough, readers)


async def test_messages_arrive_once_and_in_order(store: str) -> None:
    writers, readers = both(store)

    async with kb.Supervisor(readers.child(), writers.child()):
        for number in range(0, 200, 4):
            await writers["w"].call(Writer.write, "r", *(str(each) for each in range(number, number + 4)))

        assert [str(number) for number in range(200)] == await seen(readers, "r", 200)
        assert 200 == readers.statistics().delivered


async def test_what_waited_for_an_owner_elsewhere_comes_before_what_was_sent_later(url: str) -> None:
    writers, readers = both(url)
    who = Identity(readers._definition.system, "Reader", "r")
    other = Store(engine_of(url))
    await other.open()
    held = await other.run(Claim(who, other.host, "json", 1))
    assert held.token is not None

    async with kb.Supervisor(readers.child(), writers.child()):
        # A caller waits until the owner lets the actor go, and meanwhile messages for it come.
        waiting = asyncio.create_task(readers["r"].within(30.0).call(Reader.seen))
        for text in "123":
            await writers["w"].call(Writer.write, "r", text)
        kind = readers._definition.live
        assert kind is not None
        enough = kind.store.statistics().groups + 15
        await until(lambda: kind.store.statistics().groups >= enough, readers)
        await other.run(Release(who, held.token, 1))
        await waiting
        await writers["w"].call(Writer.write, "r", "4")

        assert ["1", "2", "3", "4"] == await seen(readers, "r", 4)
    await other.close()


async def test_what_a_turn_that_fails_has_sent_is_never_delivered(store: str) -> None:
    writers, readers = both(store)

    async with kb.Supervisor(readers.child(), writers.child()):
        with pytest.raises(kb.ActorExited):
            await writers["w"].call(Writer.write_and_break, "r", "never")
        await writers["w"].call(Writer.write, "r", "ever")

        assert ["ever"] == await seen(readers, "r", 1)


async def test_what_was_sent_while_the_target_was_down_is_delivered_when_it_is_back(url: str) -> None:
    writers, readers = both(url)
    async with kb.Supervisor(writers.child()):
        await writers["w"].call(Writer.write, "r", "one", "two")
    async with kb.Supervisor(readers.child()):
        assert ["one", "two"] == await seen(readers, "r", 2)


def test_a_message_that_always_fails_backs_off_and_is_a_dead_letter_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        writers, readers = both("memory://poison", max_attempts=3)
        Reader.poison = {"two"}
        async with kb.Supervisor(readers.child(), writers.child()):
            await writers["w"].call(Writer.write, "r", "one", "two", "three")

            assert ["one", "three"] == await seen(readers, "r", 2)
            assert ["two"] * 3 == [text for text in Reader.tries if text == "two"]
            assert 1 == readers.statistics().dead_letters
            assert "three" == Reader.tries[-1]

    run_virtual(main)
    [told] = [each.getMessage() for each in caplog.records if "dead letter" in each.getMessage()]
    assert re.fullmatch(
        r"the message 'read' to Reader/r \(Writer/w#\d+\) is a dead letter after attempt 3: ValueError: .*",
        told,
    )


def test_a_message_that_fails_for_a_while_is_handled_in_its_place() -> None:
    async def main() -> None:
        writers, readers = both("memory://later")
        Reader.poison = {"one"}
        async with kb.Supervisor(readers.child(), writers.child()):
            await writers["w"].call(Writer.write, "r", "one", "two")
            await writers["other"].call(Writer.write, "r", "from another")
            assert ["from another"] == await seen(readers, "r", 1)
            Reader.poison = set()

            assert ["from another", "one", "two"] == await seen(readers, "r", 3)

    run_virtual(main)


async def test_a_message_that_is_refused_is_a_dead_letter_at_once(url: str, file: Path) -> None:
    writers, readers = both(url)

    async with kb.Supervisor(readers.child(), writers.child()):
        await writers["w"].call(Writer.write, "r", "refuse", "next")
        assert ["next"] == await seen(readers, "r", 1)
        assert 1 == Reader.tries.count("refuse")
    rows = outbox(file)
    assert [("dead", "read", "Refused: not this one")] == rows


async def test_a_message_to_a_message_that_is_gone_is_a_dead_letter(url: str, file: Path) -> None:
    writers, readers = both(url)
    async with kb.Supervisor(writers.child()):
        await writers["w"].call(Writer.write, "r", "one", "two")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(
            "UPDATE kb_outbox SET message = 'renamed' WHERE seq = (SELECT min(seq) FROM kb_outbox)"
        )

    async with kb.Supervisor(readers.child()):
        assert ["two"] == await seen(readers, "r", 1)
    [(state, _, report)] = outbox(file)
    assert "dead" == state
    assert "Reader has no message 'renamed'" in report


async def test_money_is_neither_made_nor_lost_by_transfers(store: str) -> None:
    bank = bank_of(store)
    keys = [f"k{number}" for number in range(10)]

    async with kb.Supervisor(bank.child()):
        for key in keys:
            await bank[key].call(Account.deposit, 100)
        await asyncio.gather(
            *(bank[keys[n % 10]].call(Account.transfer, keys[(n * 7 + 3) % 10], n % 5) for n in range(300)),
            return_exceptions=True,
        )
        await delivered(bank)

        assert 1_000 == sum([await bank[key].call(Account.balance) for key in keys])


class Stubborn(kb.DurableActor[list[str]]):
    """Each of its messages but the first fails in a way of its own."""

    tries: ClassVar[list[str]] = []

    @kb.message
    def add(self, text: str) -> None:
        self.tries.append(text)
        self.state.append(text)

    @kb.message
    def add_what_the_database_refuses(self, text: str) -> None:
        self.add(text)
        self.execute("INSERT INTO there_is_none VALUES (1)")

    @kb.message
    def raise_what_cannot_be_stored(self, text: str) -> None:
        self.add(text)
        raise ValueError("half of a pair: \ud800, and a zero: \0")

    @kb.message
    def leave_the_program(self, text: str) -> None:
        self.add(text)
        raise SystemExit(3)

    @kb.query
    def texts(self) -> list[str]:
        return self.state


@pytest.mark.parametrize(
    ("message", "reported"),
    [
        (Stubborn.add_what_the_database_refuses, "no such table: there_is_none"),
        (Stubborn.raise_what_cannot_be_stored, r"half of a pair: \ud800"),
        (Stubborn.leave_the_program, "SystemExit: 3"),
    ],
    ids=["refused", "not storable", "leaves"],
)
async def test_however_a_message_fails_it_is_a_dead_letter_after_its_attempts(
    message: Any, reported: str, url: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # One process of the suite could not tell another what is logged here: half of a pair is no text.
    caplog.set_level(logging.CRITICAL + 1, logger="koboshi")
    Stubborn.tries = []
    kind = kb.durable(Stubborn, store=url, max_attempts=2)
    async with kb.Supervisor(kind.child()):
        await kind["one"].put(message, "bad")
        await delivered(kind)
        await kind["one"].put(Stubborn.add, "good")
        await delivered(kind)
        assert (1, 1) == (kind.statistics().dead_letters, kind.statistics().delivered)
        assert ["good"] == await kind["one"].call(Stubborn.texts)
    assert ["bad", "bad", "good"] == Stubborn.tries
    [(state, name, report)] = outbox(file)
    assert ("dead", message.__name__) == (state, name)
    assert reported in report


async def test_a_message_that_the_database_refuses_takes_no_other_with_it(url: str, file: Path) -> None:
    Stubborn.tries = []
    kind = kb.durable(Stubborn, store=url, max_attempts=2)
    async with kb.Supervisor(kind.child()):
        puts = [
            kind["one"].put(
                Stubborn.add_what_the_database_refuses if number == 3 else Stubborn.add, f"{number}"
            )
            for number in range(6)
        ]
        await asyncio.gather(*puts)
        await delivered(kind)
        assert (1, 5) == (kind.statistics().dead_letters, kind.statistics().delivered)
        assert ["0", "1", "2", "4", "5"] == sorted(await kind["one"].call(Stubborn.texts))
    assert [("dead", "add_what_the_database_refuses")] == [row[:2] for row in outbox(file)]


class Sleeper(kb.DurableActor[int]):
    """Starts only when it is told that it may."""

    may_start: ClassVar[bool] = False
    starts: ClassVar[list[float]] = []

    async def on_start(self) -> None:
        Sleeper.starts.append(asyncio.get_running_loop().time())
        if not Sleeper.may_start:
            raise OSError("not yet")

    @kb.message
    def count(self) -> int:
        self.state += 1
        return self.state


def test_an_actor_whose_start_fails_is_tried_later_and_later_and_its_messages_stay() -> None:
    async def main() -> None:
        Sleeper.may_start, Sleeper.starts = False, []
        kind = kb.durable(Sleeper, store="memory://later-and-later")
        async with kb.Supervisor(kind.child()):
            await kind["one"].put(Sleeper.count)
            await asyncio.sleep(60.0)
            waits = [after - before for before, after in itertools.pairwise(Sleeper.starts)]
            assert 5 <= len(waits) <= 12
            assert waits[-1] > 10.0
            Sleeper.may_start = True
            await asyncio.sleep(60.0)
            assert 2 == await kind["one"].call(Sleeper.count)

    run_virtual(main)


async def test_a_call_to_an_actor_that_does_not_start_says_why(store: str) -> None:
    Sleeper.may_start, Sleeper.starts = False, []
    kind = kb.durable(Sleeper, store=store)
    async with kb.Supervisor(kind.child()):
        with pytest.raises(kb.StartError, match="did not start") as failed:
            await kind["one"].call(Sleeper.count)
        assert "not yet" == str(failed.value.__cause__)
        await wait_idle()
        assert 0 == kind.statistics().active
    assert 1 == len(Sleeper.starts)


async def test_what_was_recorded_while_the_clock_was_ahead_does_not_wait_for_that_time(
    url: str, file: Path
) -> None:
    readers = kb.durable(Reader, store=url)
    writers = kb.durable(kb.child(Writer, readers), store=url)
    async with kb.Supervisor(writers.child()):
        await writers["w"].call(Writer.write, "r", "one", "two")
    with closing(sqlite3.connect(file)) as connection, connection:
        # As it is where the first has failed once and the second was not tried, and the clock is set right then.
        connection.execute("UPDATE kb_outbox SET not_before = not_before + 86400.0, attempts = 1 - seq")
    async with kb.Supervisor(readers.child()):
        await delivered(readers)
        assert ["one", "two"] == await readers["r"].call(Reader.seen)
