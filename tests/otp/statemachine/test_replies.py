"""Whose reply it is: of postponed calls, of inserted events, and of those that a handler answers later."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Desk(otp.StateMachine):
    """Serves while it is open."""

    class State(Enum):
        SHUT = 1
        OPEN = 2

    initial = State.SHUT

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.later: list[kb.ReplyTo[Any]] = []
        self.clerk: kb.ActorRef[Clerk] | None = None

    @otp.event
    def serve(self, how: str) -> Any:
        return self.unexpected()

    @otp.event
    def turn(self) -> str:
        return self.unexpected()

    @otp.event
    def follow(self, defers: bool = False) -> None:
        self.seen.append("follow")
        if defers:
            self.later.append(kb.defer())

    @otp.event
    def answer_all(self) -> list[bool]:
        return [reply.send("later") for reply in self.later]

    @otp.event
    def told(self) -> list[Any]:
        return self.seen

    @otp.when(State.SHUT, serve, to=(State.OPEN,))  # type: ignore[arg-type]
    def not_now(self, how: str) -> None:
        self.seen.append(f"not now {how}")
        self.postpone()
        if how == "twice":
            self.postpone()
        if how == "and open":
            self.go(self.State.OPEN)
        if how == "and refuse":
            self.insert(Desk.follow)
            self.unexpected()

    @otp.when(State.OPEN, serve)  # type: ignore[arg-type]
    def serve_it(self, how: str) -> Any:
        self.seen.append(how)
        if how == "defer":
            self.later.append(kb.defer())
            return "ignored"
        if how == "forward":
            assert self.clerk is not None
            return self.clerk.forward(Clerk.serve)
        if how == "time left":
            return kb.time_left()
        return f"served {how}"

    @otp.when(State.SHUT, turn, to=State.OPEN)
    def open_it(self) -> str:
        return "open"

    @otp.when(State.OPEN, turn, to=State.SHUT)
    def shut_it(self) -> str:
        self.later.append(kb.defer())
        self.insert(Desk.follow)
        return "ignored"


class AwaitingDesk(Desk):
    """The same with handlers that wait."""

    async def not_now(self, how: str) -> None:  # type: ignore[override]
        await asyncio.sleep(0.01)
        super().not_now(how)  # type: ignore[arg-type]

    async def serve_it(self, how: str) -> Any:  # type: ignore[override]
        await asyncio.sleep(0.01)
        return super().serve_it(how)  # type: ignore[arg-type]


class Clerk(kb.Actor):
    @kb.message
    def serve(self) -> str:
        return "served by the clerk"


both = pytest.mark.parametrize("cls", [Desk, AwaitingDesk])


@both
def test_an_event_that_is_postponed_while_the_state_changes_has_the_reply_of_its_second_handler(
    cls: type[Desk],
) -> None:
    async def main() -> tuple[Any, list[Any]]:
        desk = await kb.start(cls)
        answer = await desk.call(Desk.serve, "and open")
        return answer, await desk.call(Desk.told)

    assert ("served and open", ["not now and open", "and open"]) == run_virtual(main)


@both
def test_an_event_that_is_postponed_twice_by_one_handler_is_handled_once_more(cls: type[Desk]) -> None:
    async def main() -> list[Any]:
        desk = await kb.start(cls)
        call = asyncio.ensure_future(desk.call(Desk.serve, "twice"))
        await asyncio.sleep(0.1)
        await desk.call(Desk.turn)
        assert "served twice" == await call
        return await desk.call(Desk.told)

    assert ["not now twice", "twice"] == run_virtual(main)


@both
def test_what_a_handler_asked_for_before_it_refused_its_event_is_not_done(cls: type[Desk]) -> None:
    async def main() -> list[Any]:
        desk = await kb.start(cls)
        with pytest.raises(otp.UnexpectedEvent):
            await desk.call(Desk.serve, "and refuse")
        await desk.call(Desk.turn)
        return await desk.call(Desk.told)

    assert ["not now and refuse"] == run_virtual(main)


async def test_a_deferred_reply_is_not_sent_by_an_event_that_was_inserted_after_it() -> None:
    desk = await kb.start(Desk)
    await desk.call(Desk.turn)
    call = asyncio.ensure_future(desk.call(Desk.turn))
    await asyncio.sleep(0)

    assert [True] == await desk.call(Desk.answer_all)
    assert "later" == await call
    assert ["follow"] == await desk.call(Desk.told)


@both
def test_defer_in_the_handler_of_a_postponed_call_is_for_that_call(cls: type[Desk]) -> None:
    async def main() -> tuple[Any, ...]:
        desk = await kb.start(cls)
        call = asyncio.ensure_future(desk.call(Desk.serve, "defer"))
        await asyncio.sleep(0.1)
        opened = await desk.call(Desk.turn)
        await asyncio.sleep(0.1)
        early = call.done()
        sent = await desk.call(Desk.answer_all)
        return opened, early, sent, await call

    assert ("open", False, [True], "later") == run_virtual(main)


@both
def test_a_postponed_call_may_be_forwarded(cls: type[Desk]) -> None:
    async def main() -> Any:
        desk = await kb.start(cls)
        clerk = await kb.start(Clerk)
        await otp.replace_state(desk, lambda state: {**state, "clerk": clerk})
        call = asyncio.ensure_future(desk.call(Desk.serve, "forward"))
        await asyncio.sleep(0.1)
        await desk.call(Desk.turn)
        return await call

    assert "served by the clerk" == run_virtual(main)


@both
def test_the_time_left_of_a_postponed_call_is_that_of_its_own_caller(cls: type[Desk]) -> None:
    async def main() -> Any:
        desk = await kb.start(cls)
        call = asyncio.ensure_future(desk.within(3.0).call(Desk.serve, "time left"))
        await asyncio.sleep(1.0)
        await desk.within(60.0).call(Desk.turn)
        return await call

    assert 2.0 == pytest.approx(run_virtual(main), abs=0.1)


async def test_defer_in_an_inserted_event_leads_nowhere_as_it_has_no_caller() -> None:
    class Machine(Desk):
        @otp.event
        def begin(self) -> str:
            self.insert(Desk.follow, True)
            return "begun"

    ref = await kb.start(Machine)

    assert "begun" == await ref.call(Machine.begin)
    assert [False] == await ref.call(Desk.answer_all)


@both
def test_a_postponed_call_whose_caller_has_given_up_is_not_handled_again(cls: type[Desk]) -> None:
    async def main() -> list[Any]:
        desk = await kb.start(cls)
        with pytest.raises(kb.CallTimeout):
            await desk.within(0.5).call(Desk.serve, "late")
        desk.cast(Desk.serve, "cast")
        await asyncio.sleep(0.1)
        await desk.call(Desk.turn)
        return await desk.call(Desk.told)

    assert ["not now late", "not now cast", "cast"] == run_virtual(main)


async def test_a_crash_on_a_postponed_call_is_told_to_its_caller_and_to_that_of_the_message_in_hand() -> None:
    class Machine(Desk):
        def serve_it(self, how: str) -> Any:  # type: ignore[override]
            raise ValueError(how)

    machine = await kb.start(Machine)
    calls = [asyncio.ensure_future(machine.call(Desk.serve, "bad"))]
    await asyncio.sleep(0)
    # Queued, and not on its caller's stack: a second message is in front of it.
    machine.cast(Desk.told)
    calls.append(asyncio.ensure_future(machine.call(Desk.turn)))
    first, second = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(first, kb.ActorExited)
    assert kb.Crashed(ValueError("bad")) == first.reason
    assert "open" == second
