"""One contract for calls, whether they run on the caller's stack or go through the run queue.

A call to an idle actor may run at once, on the stack of its caller. Nobody may notice: every behaviour
here is checked for both ways, from an actor and from plain asyncio code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._node import this_node

color: ContextVar[str] = ContextVar("color", default="none")


class Callee(kb.Actor):
    """All that a handler may do to the call in hand."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.later: kb.ReplyTo[Any] | None = None

    @kb.message
    def echo(self, value: Any) -> Any:
        self.seen.append(value)
        return value

    @kb.message
    def none(self) -> None:
        self.seen.append("none")

    @kb.message
    def add(self, a: int, b: int, c: int = 0, *, d: int = 0) -> int:
        return a + b + c + d

    @kb.message
    def many(self, *values: int) -> int:
        return sum(values)

    @kb.message
    async def echo_later(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    @kb.message
    def coroutine(self, value: Any) -> Any:
        return self.echo_later(value)

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")

    @kb.message
    def exit_program(self) -> None:
        raise SystemExit(3)

    @kb.message
    def leave(self) -> None:
        raise kb.Stop(kb.Shutdown("left"))

    @kb.message
    def finish(self) -> str:
        self.stop(kb.Shutdown("finished"))
        return "last words"

    @kb.message
    def kill_self(self) -> str:
        self.me.kill()
        return "done"

    @kb.message
    def suspend_self(self) -> str:
        self.me.suspend()
        return "suspended"

    @kb.message
    def defer_and_answer(self) -> str:
        reply = kb.defer()
        assert reply.send("deferred")
        assert not reply.send("again")
        return "ignored"

    @kb.message
    def defer_to_next(self) -> str:
        self.later = kb.defer()
        self.me.cast(Callee.answer, "by the next message")
        return "ignored"

    @kb.message
    def answer(self, value: Any) -> None:
        assert self.later is not None
        self.later.send(value)

    @kb.message
    def fail(self) -> str:
        kb.defer().fail(LookupError("refused"))
        return "ignored"

    @kb.message
    def pass_on(self, other: kb.ActorRef[Callee], value: Any) -> Any:
        return other.forward(Callee.echo, value)

    @kb.message
    def defer_and_end(self) -> None:
        kb.defer()
        self.stop(kb.Shutdown("unanswered"))

    @kb.message
    def cast_self(self) -> str:
        self.me.cast(Callee.echo, "cast")
        return "first"

    @kb.message
    def paint(self) -> str:
        before = color.get()
        color.set("changed")
        return before

    @kb.message
    def left(self) -> float | None:
        return kb.time_left()

    @kb.message
    def who(self) -> bool:
        return kb.me() == self.me

    @kb.message
    def history(self) -> list[Any]:
        return list(self.seen)

    def on_stop(self, reason: kb.ExitReason) -> None:
        self.seen.append("on_stop")


async def outcome(ref: kb.ActorRef[Any], message: Any, *args: Any, **kwargs: Any) -> Any:
    """The reply, or the error in a form that compares."""
    try:
        return await ref.within(2.0).call(message, *args, **kwargs)
    except kb.ActorExited as error:
        return "exited", error.reason, error.maybe_executed, repr(error.__cause__)
    except Exception as error:
        return type(error), str(error)


class Caller(kb.Actor):
    """Makes the call from inside a handler."""

    @kb.message
    async def make(self, ref: kb.ActorRef[Any], shortcut: bool, message: Any, args: Any, kwargs: Any) -> Any:
        this_node().inline_left = 256 if shortcut else 0
        result = await outcome(ref, message, *args, **kwargs)
        assert kb.me() == self.me
        return result


Way = Callable[..., Awaitable[Any]]


@pytest.fixture(
    params=[(who, how) for who in ("actor", "plain") for how in ("shortcut", "queue")], ids="-".join
)
def call(request: pytest.FixtureRequest) -> Way:
    """A way to call: who calls, and whether the handler runs on the caller's stack."""
    who, how = request.param
    shortcut = how == "shortcut"

    async def way(ref: kb.ActorRef[Any], message: Any, *args: Any, **kwargs: Any) -> Any:
        if who == "actor":
            caller = await kb.start(Caller)
            return await caller.call(Caller.make, ref, shortcut, message, args, kwargs)
        this_node().inline_left = 256 if shortcut else 0
        return await outcome(ref, message, *args, **kwargs)

    return way


@pytest.mark.parametrize("left", [0, 1])
async def test_the_shortcut_is_what_this_file_believes_it_is(left: int) -> None:
    ref = await kb.start(Callee)
    this_node().inline_left = left
    call = ref.call(Callee.echo, 1)
    if left:
        with pytest.raises(StopIteration) as finished:
            call.send(None)
        assert 1 == finished.value.value
    else:
        call.send(None)
        assert [] == ref._cell.actor.seen
        call.close()


async def test_replies_of_every_form_are_the_same(call: Way) -> None:
    ref = await kb.start(Callee)

    assert "x" == await call(ref, Callee.echo, "x")
    assert await call(ref, Callee.none) is None
    assert await call(ref, Callee.echo, None) is None
    assert 10 == await call(ref, Callee.add, 1, 2, 3, d=4)
    assert 3 == await call(ref, Callee.add, 1, 2)
    assert 6 == await call(ref, Callee.add, b=4, a=2)
    assert 15 == await call(ref, Callee.many, 1, 2, 3, 4, 5)
    assert 0 == await call(ref, Callee.many)
    assert "y" == await call(ref, Callee.echo_later, "y")
    assert "z" == await call(ref, Callee.coroutine, "z")
    error = ValueError("a value like any other")
    assert error is await call(ref, Callee.echo, error)
    assert kb.info(ref).state == "idle"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Callee.crash, kb.Crashed(ValueError("torn"))),
        (Callee.exit_program, kb.Crashed(SystemExit(3))),
        (Callee.leave, kb.Shutdown("left")),
        (Callee.defer_and_end, kb.Shutdown("unanswered")),
    ],
)
async def test_ends_without_a_reply_are_the_same(call: Way, message: Any, reason: kb.ExitReason) -> None:
    ref = await kb.start(Callee)
    cause = repr(reason.error) if isinstance(reason, kb.Crashed) else "None"

    assert ("exited", reason, True, cause) == await call(ref, message)
    assert reason == await ref.wait_exit()
    assert (kb.NotRunning, f"{ref!r} is not running, so Callee.echo was not delivered") == await call(
        ref, Callee.echo, 1
    )


async def test_a_handler_that_kills_its_own_actor_does_not_answer_and_no_on_stop_runs(call: Way) -> None:
    ref = await kb.start(Callee)
    actor: Callee = ref._cell.actor

    assert ("exited", kb.Killed(), True, "None") == await call(ref, Callee.kill_self)
    assert kb.Killed() == await ref.wait_exit()
    assert [] == actor.seen


async def test_a_last_reply_comes_after_on_stop(call: Way) -> None:
    ref = await kb.start(Callee)
    actor: Callee = ref._cell.actor

    assert "last words" == await call(ref, Callee.finish)
    assert ["on_stop"] == actor.seen
    assert kb.Shutdown("finished") == await ref.wait_exit()


async def test_deferred_replies_are_the_same(call: Way) -> None:
    ref, other = await kb.start(Callee), await kb.start(Callee)

    assert "deferred" == await call(ref, Callee.defer_and_answer)
    assert "by the next message" == await call(ref, Callee.defer_to_next)
    assert (LookupError, "refused") == await call(ref, Callee.fail)
    assert "passed on" == await call(ref, Callee.pass_on, other, "passed on")
    assert ["passed on"] == await other.call(Callee.history)
    assert kb.info(ref).state == "idle"


async def test_mail_to_oneself_comes_after_the_message_in_hand(call: Way) -> None:
    ref = await kb.start(Callee)

    assert "first" == await call(ref, Callee.cast_self)
    assert ["cast"] == await call(ref, Callee.history)


async def test_mail_that_was_there_before_comes_first(call: Way) -> None:
    ref = await kb.start(Callee)
    ref.cast(Callee.echo, "before")

    assert "after" == await call(ref, Callee.echo, "after")
    assert ["before", "after"] == await call(ref, Callee.history)


async def test_the_context_goes_in_and_never_out(call: Way) -> None:
    ref = await kb.start(Callee)
    color.set("red")

    assert "red" == await call(ref, Callee.paint)
    assert "red" == await call(ref, Callee.paint)
    assert "red" == color.get()


async def test_the_time_that_is_left_is_the_same(call: Way) -> None:
    ref = await kb.start(Callee)

    assert 2.0 == pytest.approx(await call(ref, Callee.left), abs=0.5)


async def test_the_current_process_is_the_callee(call: Way) -> None:
    assert await call(await kb.start(Callee), Callee.who)


async def test_a_callee_that_suspends_itself_answers_and_then_rests(call: Way) -> None:
    ref = await kb.start(Callee)

    assert "suspended" == await call(ref, Callee.suspend_self)
    assert "suspended" == kb.info(ref).state
    ref.cast(Callee.echo, "waits")
    ref.resume()
    assert ["waits"] == await call(ref, Callee.history)


async def test_arguments_that_do_not_fit_harm_nobody(call: Way) -> None:
    ref = await kb.start(Callee)
    kind, text = await call(ref, Callee.add, 1)

    assert kb.UsageError is kind
    assert "missing a required argument: 'b'" in text
    assert 3 == await call(ref, Callee.add, 1, 2)


async def test_a_killed_caller_gets_no_further_than_the_call_that_killed_it(call: Way) -> None:
    reached: list[str] = []

    class Killer(kb.Actor):
        @kb.message
        def kill(self, whom: kb.ActorRef[Any]) -> str:
            whom.kill()
            return "killed"

    class Victim(kb.Actor):
        @kb.message
        async def ask(self, killer: kb.ActorRef[Killer], left: int) -> None:
            this_node().inline_left = left
            await killer.call(Killer.kill, self.me)
            reached.append("behind the call")

    killer = await kb.start(Killer)
    for left in (0, 256):
        victim = await kb.start(Victim)

        assert ("exited", kb.Killed(), True, "None") == await call(victim, Victim.ask, killer, left)
    assert [] == reached


async def test_handled_messages_are_counted(call: Way) -> None:
    ref = await kb.start(Callee)
    for number in range(5):
        await call(ref, Callee.echo, number)

    assert 5 == kb.info(ref).handled
