"""Bad input, one after another: each a specific error that says what was expected, what came and what to do, and
afterwards everything is as it was before.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.durable.changes import until

import koboshi as kb

MEGABYTES = 17 * 1024 * 1024


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def rows(file: Path) -> dict[str, list[Any]]:
    """All that a store holds of actors, but for who holds them and who has asked when."""
    connection = sqlite3.connect(file)
    try:
        tables = ("kb_event", "kb_outbox", "kb_request", "kb_timer", "kb_tag", "kb_journal")
        found = {each: connection.execute(f"SELECT * FROM {each}").fetchall() for each in tables}
        columns = "actor_type, actor_key, revision, state, state_revision, schema_version"
        # What was merely asked has a row without a revision.
        text = f"SELECT {columns} FROM kb_actor WHERE revision > 0 ORDER BY 1, 2"
        found["kb_actor"] = connection.execute(text).fetchall()
        return found
    finally:
        connection.close()


class Notes(kb.DurableActor[list[str]]):
    @kb.message
    def add(self, line: str) -> int:
        self.state.append(line)
        return len(self.state)

    @kb.message
    def grow(self, size: int) -> None:
        self.state.append("x" * size)

    @kb.message
    def tell(self, size: int) -> None:
        self.state.append("told")
        self.send(self_kind[-1]["b"], Notes.add, "x" * size)

    @kb.message
    def answer(self, size: int) -> str:
        self.state.append("answered")
        return "x" * size

    @kb.query
    def lines(self) -> list[str]:
        return self.state


self_kind: list[kb.Durable[Notes]] = []


# -- a payload over the limit -----------------------------------------------------------------------


def is_too_large(error: BaseException | None, what: str) -> None:
    assert isinstance(error, kb.PayloadTooLarge)
    assert (16 * 1024 * 1024, True) == (error.limit, error.size >= MEGABYTES)
    for part in (what, f"{error.size:,} bytes", "the limit is 16,777,216", "keep large data in files"):
        assert part in str(error)


async def test_a_payload_over_the_limit_is_refused_before_anything_is_recorded(url: str, file: Path) -> None:
    notes = kb.durable(Notes, store=url)
    self_kind.append(notes)
    async with kb.Supervisor(notes.child()):
        await notes["a"].call(Notes.add, "first")
        before = rows(file)
        with pytest.raises(kb.PayloadTooLarge) as put:
            await notes["a"].put(Notes.add, "x" * MEGABYTES)
        is_too_large(put.value, "a message Notes.add")
        for message, what in (
            (Notes.grow, "the state of Notes/a"),
            (Notes.tell, "a message Notes.add"),
        ):
            with pytest.raises(kb.ActorExited) as turn:
                await notes["a"].call(message, MEGABYTES)
            is_too_large(turn.value.__cause__, what)
        with pytest.raises(kb.ActorExited) as reply:
            await notes["a"].request("once").call(Notes.answer, MEGABYTES)
        is_too_large(reply.value.__cause__, "the reply of Notes.answer")

        assert before == rows(file)
        assert ["first"] == await notes["a"].call(Notes.lines)


class Big(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        return await self.step("big", grown, MEGABYTES if how == "big" else 1)


async def grown(size: int) -> str:
    return "x" * size


async def test_a_sagas_payload_over_the_limit_starts_nothing_and_fails_the_step_that_has_it(
    url: str, file: Path
) -> None:
    sagas = kb.sagas(Big, store=url)
    async with kb.Supervisor(sagas.child()):
        with pytest.raises(kb.PayloadTooLarge) as start:
            await sagas.start("x" * MEGABYTES, id="a")
        is_too_large(start.value, "the input of a saga")
        assert {"kb_actor": [], "kb_journal": []}.items() <= rows(file).items()

        with pytest.raises(kb.SagaFailed, match=r"PayloadTooLarge: .* the limit is 16,777,216"):
            await (await sagas.start("big", id="b")).result(10.0)


# -- an unknown type on load, an event without an upcaster ------------------------------------------


class Paid(msgspec.Struct, frozen=True):
    cents: int


class Ledger(kb.EventSourced[int]):
    @kb.message
    def pay(self, cents: int) -> None:
        self.emit(Paid(cents))

    @kb.query
    def total(self) -> int:
        return self.state

    @kb.event(type="paid")
    @staticmethod
    def paid(total: int, event: Paid) -> int:
        return total + event.cents


class Forgetful(kb.EventSourced[int]):
    """Knows nothing of what was paid."""

    @kb.query
    def total(self) -> int:
        return self.state

    @kb.message
    def pay(self, cents: int) -> None:
        self.emit(Paid(cents))

    @kb.event(type="settled")
    @staticmethod
    def settled(total: int, event: Paid) -> int:
        return total


class Jumping(Forgetful):
    """Knows events of version 3, and how to make one from version 2."""

    @kb.event(type="paid", version=3, upcasters={2: lambda old: old})
    @staticmethod
    def settled(total: int, event: Paid) -> int:
        return total + event.cents


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        (
            Forgetful,
            kb.UnknownType,
            ["of the type 'paid'", "knows settled", "@kb.event(type='paid')", "nothing was changed"],
        ),
        (
            Jumping,
            kb.NoUpcaster,
            ["of version 1", "program's is 3", "add `1: a_function` to upcasters", "nothing was changed"],
        ),
    ],
)
async def test_events_that_a_program_cannot_read_keep_that_actor_down_and_are_kept(
    url: str, file: Path, changed: Any, error: type[kb.Corrupted], says: list[str]
) -> None:
    ledgers = kb.durable(Ledger, store=url, type="ledger")
    async with kb.Supervisor(ledgers.child()):
        await ledgers["a"].call(Ledger.pay, 5)
    before = rows(file)
    other: kb.Durable[Any] = kb.durable(changed, store=url, type="ledger")
    async with kb.Supervisor(other.child()):
        for message, *args in ((changed.total,), (changed.pay, 1)):
            with pytest.raises(error) as caught:
                await other["a"].call(message, *args)
            for part in ["ledger/a", *says]:
                assert part in str(caught.value)
            assert "backup" not in str(caught.value)  # nothing is wrong with the row
        assert 0 == await other["b"].call(changed.total)  # others go on
    assert before == rows(file)
    async with kb.Supervisor(ledgers.child()):
        assert 5 == await ledgers["a"].call(Ledger.total)


class Renamed(kb.DurableActor[list[str]]):
    schema_version = 2

    @kb.query
    def lines(self) -> list[str]:
        return self.state


class Numbers(kb.DurableActor[dict[str, int]]):
    @kb.query
    def lines(self) -> dict[str, int]:
        return self.state


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        (Renamed, kb.NoUpcaster, ["of version 1", "program's is 2", "add `1: a_function` to upcasters"]),
        (Numbers, kb.Corrupted, ["of version 1 does not fit", "`object`", "got `array`"]),
    ],
)
async def test_a_state_that_a_program_cannot_read_is_neither_lost_nor_empty(
    url: str, file: Path, changed: Any, error: type[kb.Corrupted], says: list[str]
) -> None:
    notes = kb.durable(Notes, store=url, type="notes")
    async with kb.Supervisor(notes.child()):
        await notes["a"].call(Notes.add, "first")
    before = rows(file)
    other: kb.Durable[Any] = kb.durable(changed, store=url, type="notes")
    async with kb.Supervisor(other.child()):
        with pytest.raises(error) as caught:
            await other["a"].call(changed.lines)
        for part in ["notes/a", *says]:
            assert part in str(caught.value)
    assert before == rows(file)
    async with kb.Supervisor(notes.child()):
        assert ["first"] == await notes["a"].call(Notes.lines)


async def test_a_state_in_a_codec_that_nobody_knows_is_an_unknown_type(url: str, file: Path) -> None:
    notes = kb.durable(Notes, store=url)
    async with kb.Supervisor(notes.child()):
        await notes["a"].call(Notes.add, "first")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE kb_actor SET codec = 'cbor'")
    connection.close()
    async with kb.Supervisor(notes.child()):
        with pytest.raises(kb.UnknownType, match=r"'cbor', known are .*'msgpack'.*nothing was changed"):
            await notes["a"].call(Notes.lines)


# -- a store's URL ----------------------------------------------------------------------------------


async def test_a_store_whose_extra_is_missing_stops_the_start_and_names_the_command(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = kb.durable(Notes, store="mssql://sa:s3cret@localhost/app")
    with pytest.raises(kb.StartError) as caught:
        async with kb.Supervisor(notes.child()):
            raise AssertionError("it has started without a store")
    error = caught.value.__cause__
    assert isinstance(error, kb.ExtraNeeded)
    for part in ("mssql://sa:***@localhost/app", "cannot be imported", 'run: pip install "koboshi[mssql]"'):
        assert part in str(error)
    assert "s3cret" not in str(caught.value)
    assert "was not released" not in caplog.text
    with pytest.raises(kb.NotRunning):
        await notes["a"].call(Notes.add, "first")


@pytest.mark.parametrize(
    "wrong",
    [
        "app.db",
        "oracle://host/app",
        "sqlite://app.db",
        "sqlite:///",
        "sqlite:///app.db?connect_timeout=2",
        "",
        5,
        None,
    ],
)
def test_what_is_no_url_of_a_store_is_refused_at_once(wrong: Any) -> None:
    makes: list[Callable[[], object]] = [
        lambda: kb.durable(Notes, store=wrong),
        lambda: kb.sagas(Big, store=wrong),
        lambda: kb.Queue("work", store=wrong),
    ]
    for make in makes:
        with pytest.raises(kb.UsageError, match="sqlite:///"):
            make()


# -- a key of the wrong length ----------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 31, b"x" * 33, "x" * 32, None])
def test_an_encryption_key_of_the_wrong_length_is_refused_at_once(key: Any) -> None:
    with pytest.raises(kb.UsageError) as caught:
        kb.KeyRing({"2026": key}, current="2026")
    what = str(len(key)) if isinstance(key, bytes) else f"a {type(key).__name__}"
    assert f"the key '2026' takes 32 bytes, got {what}" in str(caught.value)
    assert "short" not in str(caught.value)  # a key is never shown


def test_an_actors_key_of_the_wrong_length_is_refused_at_once() -> None:
    notes = kb.durable(Notes, store="memory://keys")
    for wrong, came in (("", "''"), ("k" * 256, "256: 'kkk"), (7, "7")):
        given: Any = wrong
        with pytest.raises(kb.UsageError) as caught:
            notes[given]
        assert f"a key is a string of 1 to 255 characters, got {came}" in str(caught.value)
        assert len(str(caught.value)) < 200
    assert "k" * 255 == notes["k" * 255].key


# -- a statement that the database refuses ----------------------------------------------------------


class Register(kb.DurableActor[list[str]]):
    @kb.message
    def book(self, sql: str, secret: str) -> int:
        self.state.append(secret)
        self.execute(sql, secret=secret)
        return len(self.state)


async def test_a_turns_refused_statement_names_the_actor_the_message_and_the_statement(url: str) -> None:
    ledgers = kb.durable(Register, store=url)
    sql = "INSERT INTO ledger VALUES (:secret)"
    async with kb.Supervisor(ledgers.child()):
        calls = [ledgers["a"].call(Register.book, sql, "sesame") for _ in range(2)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert errors[0] is not errors[1]
        for error in errors:
            assert isinstance(error, kb.StatementRefused)
            assert ("Register/a, book", sql, "no such table: ledger") == (
                error.of,
                error.statement,
                error.detail,
            )
            assert (
                "the database has refused a statement of Register/a, book: no such table: ledger; nothing of its "
                f"transaction was recorded; mend the statement or what it is given: {sql}"
            ) == str(error)
            assert isinstance(error.__cause__, sqlite3.OperationalError)
        assert 1 == await ledgers["a"].call(Register.book, "SELECT :secret", "x")


# -- a deadline that is no time -------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", ["x", -1, float("nan"), True])
def test_a_deadline_that_is_no_time_is_refused_where_it_is_given(seconds: Any) -> None:
    ref = kb.durable(Notes, store="memory://deadlines")["a"]
    with pytest.raises(kb.UsageError, match="within takes seconds >= 0 or None, got"):
        ref.within(seconds)


# -- a saga's step that is renamed while instances are alive ----------------------------------------


done: list[str] = []


async def do(what: str) -> str:
    done.append(what)
    return what


class Shop(kb.Saga[str, str]):
    async def run(self, item: str) -> str:
        await self.step("reserve", do, "reserve")
        await self.wait_event("paid")
        return await self.step("ship", do, "ship")


class Shop2(kb.Saga[str, str]):
    async def run(self, item: str) -> str:
        await self.step("book", do, "book")
        await self.wait_event("paid")
        return await self.step("ship", do, "ship")


async def parked(ref: kb.SagaRef[Any]) -> Exception | None:
    return (await ref.status()).parked


async def waits_for_payment(ref: kb.SagaRef[Any]) -> bool:
    return (await ref.status()).waiting == ("event paid",)


async def test_a_renamed_step_parks_the_instances_that_have_begun_it_and_no_others(
    url: str, file: Path
) -> None:
    done.clear()
    old = kb.sagas(Shop, store=url, type="shop")
    async with kb.Supervisor(old.child()):
        ref = await old.start("book", id="a")
        await until(lambda: waits_for_payment(ref), old)
    before = rows(file)
    new = kb.sagas(Shop2, store=url, type="shop")
    async with kb.Supervisor(new.child()):
        error = await until(lambda: parked(new["a"]), new)
        assert isinstance(error, kb.SagaChanged)
        for part in ("shop/a", "step reserve", "step book", "another type="):
            assert part in str(error)
        with pytest.raises(kb.CallTimeout):
            await new["a"].result(0.05)
        other = await new.start("book", id="b")
        assert await other.signal("paid")
        assert "ship" == await other.result(10.0)
        assert ["a"] == await new.alive()
    assert ["reserve", "book", "ship"] == done
    assert before["kb_journal"] == rows(file)["kb_journal"]
    async with kb.Supervisor(old.child()):
        assert await old["a"].signal("paid")
        assert "ship" == await old["a"].result(10.0)


# -- what a turn is told to record ------------------------------------------------------------------


class Clock(kb.DurableActor[dict[str, int]]):
    @kb.message
    def do(self, what: str, value: Any) -> None:
        given: Any = value
        if what == "send":
            self.send(given, Clock.do, "", 0)
        elif what == "forward":
            self.forward(given, Clock.do, "", 0)
        elif what == "set":
            self.state["a"] = given
        else:
            self.remind("tea", Clock.do, "", 0, **{what: given})

    @kb.message
    def give(self) -> Any:
        return 10**30


@pytest.mark.parametrize(
    ("what", "value", "told"),
    [
        ("send", "bob", r"send takes the address of a durable actor, such as accounts\['bob'\], got 'bob'"),
        ("forward", None, "forward takes the address of a durable actor"),
        ("after", "5", "after takes seconds >= 0, got '5'"),
        ("at", "tomorrow", "at takes a datetime or seconds since the epoch, got 'tomorrow'"),
        ("every", "5", "every takes seconds > 0, got '5'"),
        ("set", 10**30, "the state of Clock/a cannot be stored: can't serialize ints"),
        ("set", object(), "the state of Clock/a cannot be stored: Encoding objects of type object"),
    ],
)
async def test_a_turn_that_is_given_something_else_says_what_it_takes(
    url: str, file: Path, what: str, value: Any, told: str
) -> None:
    clocks = kb.durable(Clock, store=url)
    async with kb.Supervisor(clocks.child()):
        with pytest.raises(kb.ActorExited) as caught:
            await clocks["a"].call(Clock.do, what, value)
        assert isinstance(caught.value.__cause__, kb.UsageError)
        assert re.search(told, str(caught.value.__cause__))
    assert not rows(file)["kb_actor"]


class Rung(msgspec.Struct, frozen=True):
    times: int


class Bell(kb.EventSourced[int]):
    @kb.message
    def ring(self, times: int) -> None:
        self.emit(Rung(times))

    @kb.event
    @staticmethod
    def rung(state: int, event: Rung) -> int:
        return state + 1


async def test_an_event_that_cannot_be_stored_is_named(url: str) -> None:
    bells = kb.durable(Bell, store=url)
    async with kb.Supervisor(bells.child()):
        with pytest.raises(kb.ActorExited, match=r"Rung.* of Bell/a cannot be stored: can't serialize ints"):
            await bells["a"].call(Bell.ring, 10**30)
        assert [] == await bells["a"].history()


async def test_values_that_cannot_be_stored_are_named_wherever_they_come_from(url: str) -> None:
    clocks = kb.durable(Clock, store=url)
    async with kb.Supervisor(clocks.child()):
        with pytest.raises(
            kb.UsageError, match=r"Clock.do was sent arguments that cannot be stored: can't seri"
        ):
            await clocks["a"].put(Clock.do, "set", 10**30)
        with pytest.raises(
            kb.ActorExited, match=r"the reply of Clock.give cannot be stored: can't serialize"
        ):
            await clocks["a"].request("r").call(Clock.give)
        city: Any = 5
        with pytest.raises(kb.UsageError, match=r"a tag is .*, got city=5"):
            await clocks.where(city=city)


def test_a_projection_is_made_of_a_projection() -> None:
    other: Any = Clock
    with pytest.raises(kb.UsageError, match=r"kb.projection takes a subclass of kb.Projection, got .*Clock"):
        kb.projection(other, of=kb.durable(Clock, store="memory://"))


# -- tasks and steps --------------------------------------------------------------------------------


@kb.task(name="bad input: add")
async def add(number: int, more: int = 0) -> int:
    return number + more


async def test_options_of_a_task_are_pointed_to_where_they_belong() -> None:
    queue = kb.Queue("bad input", store="memory://bad input")
    row: Any = queue.row
    with pytest.raises(kb.UsageError, match=r"argument 'id'; options go into queue.options\(id=...\)"):
        row(add, 1, id="one")
    with pytest.raises(kb.UsageError, match=r"unexpected keyword argument 'prio'$"):
        row(add, 1, prio=5)
    coroutine: Any = add(1)
    with pytest.raises(
        kb.UsageError, match=r"got a coroutine; .* put\(function, 1\), not put\(function\(1\)\)"
    ):
        queue.row(coroutine)
    coroutine.close()


async def test_a_schedule_that_comes_too_late_to_be_run_is_refused(url: str) -> None:
    queue = kb.Queue("bad input", store=url)
    async with kb.Supervisor(queue.child(workers=1)):
        with pytest.raises(kb.UsageError, match="too late: the queue 'bad input' runs already"):
            queue.schedule("0 3 * * *").put(add, 1)
    queue.schedule("0 3 * * *").put(add, 1)


class Odd(kb.Saga[str, int]):
    async def run(self, value: str) -> int:
        given: Any = value
        if value == "step":
            given = add_one(1)
            try:
                return await self.step("one", given)
            finally:
                given.close()
        return given


async def add_one(number: int) -> int:
    return number + 1


async def test_a_saga_that_returns_something_else_has_failed_and_one_step_says_what_it_takes(
    url: str,
) -> None:
    odd = kb.sagas(Odd, store=url)
    async with kb.Supervisor(odd.child()):
        for value, told in (
            ("text", "the result of Odd/text does not fit int: Expected `int`, got `str`"),
            (
                "step",
                r"the step 'one' takes a function and its arguments: self.step\('one', function, 1\), got <corou",
            ),
        ):
            saga = await odd.start(value, id=value)
            with pytest.raises(kb.SagaFailed, match=told):
                await saga.result(timeout=10.0)
