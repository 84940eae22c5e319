"""Replies that come later or from elsewhere: once, to whom they belong, and never as stray mail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._node import this_node


class Desk(kb.Actor):
    """Takes requests and answers them when it is told to."""

    def __init__(self, other: kb.ActorRef[Any] | None = None) -> None:
        self.other = other
        self.open: list[kb.ReplyTo[Any]] = []
        self.opened: asyncio.Queue[None] = asyncio.Queue()
        self.stray: list[Any] = []

    @kb.message
    def ask(self) -> str:
        self.take(kb.defer())
        return "not the reply"

    @kb.message
    async def ask_slowly(self) -> str:
        reply = kb.defer()
        await asyncio.sleep(0)
        self.take(reply)
        return "not the reply"

    @kb.message
    def answer(self, *values: Any) -> list[bool]:
        return [self.open[0].send(value) for value in values]

    @kb.message
    def refuse(self, error: BaseException) -> bool:
        return self.open[0].fail(error)

    @kb.message
    def wanted(self) -> list[bool]:
        return [reply.wanted for reply in self.open]

    @kb.message
    def hand_on(self) -> str:
        assert self.other is not None
        self.other.cast(Desk.take, kb.defer())
        return "not the reply"

    @kb.message
    def take(self, reply: kb.ReplyTo[Any]) -> None:
        self.open.append(reply)
        self.opened.put_nowait(None)

    @kb.message
    def forward_name(self, prefix: str) -> str:
        assert self.other is not None
        return self.other.forward(Desk.name, prefix)

    @kb.message
    async def forward_name_later(self, prefix: str) -> str:
        assert self.other is not None
        await asyncio.sleep(0)
        result = self.other.forward(Desk.name, prefix)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return result

    @kb.message
    def forward_and_end(self, how: str) -> str:
        assert self.other is not None
        result = self.other.forward(Desk.name, how)
        if how == "crash":
            raise ValueError("torn")
        self.stop()
        return result

    @kb.message
    def forward_to_self(self, prefix: str) -> str:
        return self.me.forward(Desk.name, prefix)

    @kb.message
    def forward_open(self) -> str:
        assert self.other is not None
        return self.other.forward(Desk.ask)

    @kb.message
    def name(self, prefix: str) -> str:
        return f"{prefix} {kb.info(self.me).label}"

    @kb.message
    def seen(self) -> list[Any]:
        return self.stray

    def on_info(self, message: Any) -> None:
        self.stray.append(message)


async def taken(desk: kb.ActorRef[Desk]) -> None:
    """Wait until the desk has taken one more request."""
    await desk._cell.actor.opened.get()


async def asked(desk: kb.ActorRef[Desk], message: Any = Desk.ask) -> asyncio.Task[Any]:
    """A call that the desk has deferred."""
    call = asyncio.ensure_future(desk.within(None).call(message))
    await taken(desk)
    return call


@pytest.mark.parametrize("message", [Desk.ask, Desk.ask_slowly])
async def test_a_deferred_reply_is_given_by_a_later_message(message: Any) -> None:
    desk = await kb.start(Desk)
    call = await asked(desk, message)
    assert not call.done()

    assert [True] == await desk.call(Desk.answer, "late")
    assert "late" == await call


async def test_of_two_replies_the_first_wins_and_the_second_goes_nowhere() -> None:
    class Asker(Desk):
        @kb.message
        async def go(self, desk: kb.ActorRef[Desk]) -> str:
            return await desk.call(Desk.ask)

    desk, asker = await kb.start(Desk), await kb.start(Asker)
    going = asyncio.ensure_future(asker.call(Asker.go, desk))
    await taken(desk)

    assert [True, False] == await desk.call(Desk.answer, "first", "second")
    assert "first" == await going
    assert [] == await asker.call(Desk.seen)


def test_a_late_reply_goes_nowhere() -> None:
    async def main() -> None:
        class Asker(Desk):
            @kb.message
            async def go(self, desk: kb.ActorRef[Desk]) -> str:
                try:
                    return await desk.within(1.0).call(Desk.ask)
                except kb.CallTimeout as error:
                    return repr(error.maybe_executed)

        desk, asker = await kb.start(Desk), await kb.start(Asker)

        assert "True" == await asker.call(Asker.go, desk)
        assert [False] == await desk.call(Desk.wanted)
        assert [False] == await desk.call(Desk.answer, "late")
        assert [] == await asker.call(Desk.seen)

    run_virtual(main)


async def test_a_deferred_reply_may_be_an_error() -> None:
    desk = await kb.start(Desk)
    call = await asked(desk)

    assert await desk.call(Desk.refuse, LookupError("no such book"))
    with pytest.raises(LookupError, match="no such book"):
        await call
    assert desk.alive


async def test_another_process_may_give_the_reply() -> None:
    other = await kb.start(Desk)
    desk = await kb.start(Desk, other)
    call = asyncio.ensure_future(desk.call(Desk.hand_on))
    await taken(other)

    assert [True] == await other.call(Desk.answer, "from elsewhere")
    assert "from elsewhere" == await call


async def test_plain_asyncio_code_may_give_the_reply() -> None:
    desk = await kb.start(Desk)
    call = await asked(desk)
    (reply,) = desk._cell.actor.open

    assert reply.send("from outside")
    assert "from outside" == await call


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_deferred_call_fails_when_the_actor_that_took_it_ends(end: str) -> None:
    desk = await kb.start(Desk)
    call = await asked(desk)
    if end == "kill":
        desk.kill()
    else:
        await desk.stop()

    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert (kb.Killed() if end == "kill" else kb.Normal()) == caught.value.reason
    assert caught.value.maybe_executed


async def test_a_deferred_reply_does_not_hold_up_other_calls() -> None:
    desk = await kb.start(Desk)
    calls = [asyncio.ensure_future(desk.call(Desk.ask)) for _ in range(3)]
    for _ in calls:
        await taken(desk)

    assert "x" == (await desk.call(Desk.name, "x"))[:1]
    for reply in desk._cell.actor.open:
        reply.send("all")
    assert ["all"] * 3 == await asyncio.gather(*calls)


async def test_defer_in_a_cast_leads_nowhere() -> None:
    desk = await kb.start(Desk)
    desk.cast(Desk.ask)

    assert [False] == await desk.call(Desk.wanted)
    assert [False] == await desk.call(Desk.answer, "x")


async def test_defer_outside_of_a_message_is_refused() -> None:
    with pytest.raises(kb.NotInProcess):
        kb.defer()
    with pytest.raises(kb.NotInProcess):
        kb.time_left()


async def test_defer_in_a_start_does_not_take_the_reply_of_whoever_starts_it() -> None:
    class Child(kb.Actor):
        def __init__(self) -> None:
            self.left = kb.time_left()
            kb.defer().send("stolen")

        def on_start(self) -> None:
            kb.defer().send("stolen")

        @kb.message
        def time_left_at_start(self) -> float | None:
            return self.left

    class Parent(kb.Actor):
        @kb.message
        async def go(self) -> str:
            child = await kb.start(Child)
            assert await child.call(Child.time_left_at_start) is None
            return "my own"

    parent = await kb.start(Parent)

    assert "my own" == await parent.call(Parent.go)


# -- forward -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("message", [Desk.forward_name, Desk.forward_name_later, Desk.forward_to_self])
async def test_a_forwarded_call_is_answered_by_the_actor_that_it_was_forwarded_to(
    message: Any, shortcut: bool
) -> None:
    other = await kb.start(Desk)
    desk = await kb.start(Desk, other)
    this_node().inline_left = 256 if shortcut else 0
    answers = desk if message is Desk.forward_to_self else other

    assert f"hello {kb.info(answers).label}" == await desk.call(message, "hello")


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_a_forwarded_call_outlives_the_actor_that_forwarded_it(how: str, shortcut: bool) -> None:
    other = await kb.start(Desk)
    desk = await kb.start(Desk, other)
    this_node().inline_left = 256 if shortcut else 0

    assert f"{how} {kb.info(other).label}" == await desk.call(Desk.forward_and_end, how)
    assert await desk.wait_exit() is not None


async def test_a_forwarded_call_fails_with_the_actor_that_it_was_forwarded_to() -> None:
    other = await kb.start(Desk)
    desk = await kb.start(Desk, other)
    call = asyncio.ensure_future(desk.within(None).call(Desk.forward_open))
    await taken(other)
    other.kill()

    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert kb.info(other).label == caught.value.target
    assert desk.alive


async def test_a_forward_to_a_dead_actor_fails_the_call() -> None:
    other = await kb.start(Desk)
    desk = await kb.start(Desk, other)
    await other.stop()

    with pytest.raises(kb.CallError) as caught:
        await desk.call(Desk.forward_name, "x")
    assert isinstance(caught.value, kb.NotRunning) or isinstance(caught.value.__cause__, kb.NotRunning)


def test_a_forwarded_call_keeps_its_first_deadline() -> None:
    async def main() -> None:
        other = await kb.start(Desk)
        desk = await kb.start(Desk, other)
        other.suspend()
        with pytest.raises(kb.CallTimeout) as caught:
            await desk.within(1.5).call(Desk.forward_name, "x")

        assert 1.5 == pytest.approx(caught.value.elapsed)
        assert not caught.value.maybe_executed

    run_virtual(main)


# -- ask -----------------------------------------------------------------------------------------------


async def test_ask_builds_a_message_around_its_reply_address() -> None:
    async def adder() -> None:
        while True:
            a, b, reply = await kb.receive(tuple)
            assert reply.send(a + b)
            assert not reply.send("again")

    ref = kb.spawn(adder)
    try:
        assert 5 == await ref.ask(lambda reply: (2, 3, reply))
        assert 7 == await ref.ask(lambda reply: (3, 4, reply))
    finally:
        ref.kill()
        await ref.wait_exit()


async def test_ask_fails_at_once_when_the_process_is_dead_or_dies() -> None:
    async def mute() -> None:
        await kb.receive()

    ref = kb.spawn(mute)
    with pytest.raises(kb.ActorExited) as caught:
        await ref.within(None).ask(lambda reply: reply)
    assert kb.Normal() == caught.value.reason
    with pytest.raises(kb.NotRunning):
        await ref.within(None).ask(lambda reply: reply)


def test_ask_has_a_deadline() -> None:
    async def main() -> None:
        async def mute() -> None:
            await kb.receive()
            await kb.receive()

        ref = kb.spawn(mute)
        with pytest.raises(kb.CallTimeout) as caught:
            await ref.within(2.0).ask(lambda reply: reply)
        assert 2.0 == pytest.approx(caught.value.elapsed)
        ref.kill()
        await ref.wait_exit()

    run_virtual(main)
