"""Durable state machines: state, data and timeouts over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from enum import Enum
from typing import Any

import msgspec
import pytest
from tests.durable.kept import KeptStore
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Data(msgspec.Struct):
    log: list[str] = []
    pushes: int = 0


class Door(kb.DurableStateMachine[Data]):
    class State(Enum):
        CLOSED = 1
        OPEN = 2
        LOCKED = 3

    initial = State.CLOSED

    @otp.event
    def push(self) -> str:
        return self.unexpected()

    @otp.event
    def lock(self, seconds: float) -> None:
        self.unexpected()

    @otp.event
    def noted(self, what: str) -> None:
        self.data.log.append(what)

    @otp.event
    def broken(self) -> None:
        self.data.log.append("never seen")
        raise kb.Refused("no")

    @otp.event
    def log(self) -> list[str]:
        return [self.state.name, *self.data.log]

    @otp.when(State.CLOSED, otp.ENTER)
    def closing(self, old: Enum) -> None:
        self.data.log.append(f"closed after {old.name}")

    @otp.when(State.CLOSED, push, to=State.OPEN)
    def open_it(self) -> str:
        self.data.pushes += 1
        self.set_state_timeout(30.0, "by itself")
        self.insert(Door.noted, "opened")
        return "come in"

    @otp.when(State.OPEN, push, to=State.CLOSED)
    def close_it(self) -> str:
        return "bye"

    @otp.when(State.OPEN, otp.STATE_TIMEOUT, to=State.CLOSED)
    def falls_shut(self, payload: str) -> None:
        self.data.log.append(payload)

    @otp.when(State.CLOSED, lock, to=State.LOCKED)
    def lock_it(self, seconds: float) -> None:
        self.set_timeout("lock", seconds)

    @otp.when(State.LOCKED, otp.timeout("lock"), to=State.CLOSED)
    def unlock_it(self, payload: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[KeptStore]:
    made = KeptStore()
    yield made
    made.drop()


def life(store: KeptStore, work: Callable[[kb.DurableRef[Door]], Coroutine[Any, Any, Any]]) -> Any:
    """One life of a program with one door."""

    async def main() -> Any:
        doors = kb.durable(Door, store=store)
        found: Any = None
        async with kb.Supervisor(doors.child()):
            found = await work(doors["front"])
        return found

    return run_virtual(main)


def test_state_and_data_outlive_the_program_and_the_initial_state_is_entered_once(store: KeptStore) -> None:
    async def first(door: kb.DurableRef[Door]) -> Any:
        return await door.call(Door.push)

    async def second(door: kb.DurableRef[Door]) -> Any:
        return await door.call(Door.log)

    assert "come in" == life(store, first)
    assert ["OPEN", "closed after CLOSED", "opened"] == life(store, second)


def test_a_state_timeout_goes_on_while_the_program_is_down(store: KeptStore) -> None:
    async def first(door: kb.DurableRef[Door]) -> None:
        await door.call(Door.push)

    async def second(door: kb.DurableRef[Door]) -> Any:
        await asyncio.sleep(15)
        early = (await door.call(Door.log))[0]
        await asyncio.sleep(10)
        return early, await door.call(Door.log)

    life(store, first)
    store.offset += 10.0
    early, late = life(store, second)
    assert "OPEN" == early
    assert ["CLOSED", "closed after CLOSED", "opened", "by itself", "closed after OPEN"] == late
    assert [] == store.rows("SELECT * FROM kb_timer") + store.rows("SELECT * FROM kb_outbox")


def test_leaving_a_state_takes_its_timeout_back_also_after_a_restart(store: KeptStore) -> None:
    async def first(door: kb.DurableRef[Door]) -> None:
        await door.call(Door.push)

    async def second(door: kb.DurableRef[Door]) -> Any:
        assert "bye" == await door.call(Door.push)
        assert [] == store.rows("SELECT * FROM kb_timer")
        await asyncio.sleep(100)
        return (await door.call(Door.log))[-1]

    life(store, first)
    assert "closed after OPEN" == life(store, second)


def test_a_named_timeout_that_is_over_meanwhile_comes_at_once(store: KeptStore) -> None:
    async def first(door: kb.DurableRef[Door]) -> None:
        await door.call(Door.lock, 60.0)

    async def second(door: kb.DurableRef[Door]) -> Any:
        await asyncio.sleep(1)
        return (await door.call(Door.log))[0]

    life(store, first)
    store.offset += 3_600.0
    assert "CLOSED" == life(store, second)


def test_an_event_that_is_not_taken_is_refused_and_changes_nothing(store: KeptStore) -> None:
    async def work(door: kb.DurableRef[Door]) -> Any:
        await door.call(Door.push)
        with pytest.raises(kb.EventRefused) as caught:
            await door.call(Door.lock, 1.0)
        assert isinstance(caught.value, otp.UnexpectedEvent)
        with pytest.raises(kb.Refused):
            await door.call(Door.broken)
        return await door.call(Door.log)

    assert ["OPEN", "closed after CLOSED", "opened"] == life(store, work)


def test_without_a_runtime_it_is_an_object() -> None:
    door = Door()
    assert "come in" == door.push()
    assert Door.State.OPEN is door.state
    assert 1 == door.data.pushes


def test_a_class_is_checked_when_it_is_made() -> None:
    with pytest.raises(kb.UsageError, match="plain def"):

        class Waits(kb.DurableStateMachine[Data]):
            class State(Enum):
                ONE = 1
                TWO = 2

            initial = State.ONE
            final = (State.TWO,)

            @otp.event
            def go_on(self) -> Any: ...

            @otp.when(State.ONE, go_on, to=State.TWO)  # type: ignore[arg-type]
            async def on(self) -> Any:
                pass
