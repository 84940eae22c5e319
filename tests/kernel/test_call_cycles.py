"""A call that would wait for itself is refused at once, and no other call is."""

from __future__ import annotations

import asyncio

import pytest

import koboshi as kb


class Ring(kb.Actor):
    """Calls the next in a circle."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.following: kb.ActorRef[Ring] | None = None
        kb.register(name, kb.me())

    @kb.message
    def point_at(self, following: kb.ActorRef[Ring]) -> None:
        self.following = following

    @kb.message
    async def around(self) -> str:
        assert self.following is not None
        return await self.following.call(Ring.around)

    @kb.message
    async def ask_own(self) -> str:
        return await self.me.call(Ring.own_name)

    @kb.message
    def own_name(self) -> str:
        return self.name

    @kb.message
    async def ask_next_name(self) -> str:
        assert self.following is not None
        return await self.following.call(Ring.own_name)


async def ring(count: int) -> list[kb.ActorRef[Ring]]:
    """Actors that call each other in a circle."""
    refs = [await kb.start(Ring, f"ring-{number}") for number in range(count)]
    for number, ref in enumerate(refs):
        await ref.call(Ring.point_at, refs[(number + 1) % count])
    return refs


def cycle_under(error: BaseException | None) -> kb.CallCycle:
    """The `CallCycle` at the root of a chain of crashes."""
    while error is not None and not isinstance(error, kb.CallCycle):
        error = error.__cause__
    assert error is not None
    return error


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_circle_of_calls_is_refused_at_once_with_its_path(count: int) -> None:
    refs = await ring(count)
    labels = [kb.info(ref).label for ref in refs]

    with pytest.raises(kb.ActorExited) as caught:
        await refs[0].within(None).call(Ring.around)

    cycle = cycle_under(caught.value)
    # The caller that closed the circle is the last one; it comes first and last in the path.
    assert (labels[-1], *labels) == cycle.path
    assert "Ring.around" == cycle.message
    assert not cycle.maybe_executed
    assert " -> ".join(cycle.path) in str(cycle)


async def test_a_call_to_oneself_is_refused_at_once() -> None:
    (ref,) = await ring(1)
    label = kb.info(ref).label

    with pytest.raises(kb.ActorExited) as caught:
        await ref.within(None).call(Ring.ask_own)

    assert (label, label) == cycle_under(caught.value).path


async def test_a_call_back_is_refused_even_when_the_message_is_a_plain_one() -> None:
    one, two = await ring(2)

    class Between(kb.Actor):
        @kb.message
        async def back(self) -> str:
            return await one.call(Ring.own_name)

    class Start(kb.Actor):
        @kb.message
        async def go(self, other: kb.ActorRef[Between]) -> str:
            return await other.call(Between.back)

    between = await kb.start(Between)
    start = await kb.start(Start)
    # No circle: the one that is called back is free.
    assert "ring-0" == await start.call(Start.go, between)
    assert two.alive


async def test_a_deferred_reply_is_no_false_alarm() -> None:
    class Back(kb.Actor):
        """Takes a call, defers its reply, then calls the caller's own helper before it answers."""

        @kb.message
        async def ask(self, caller: kb.ActorRef[Front]) -> str:
            reply = kb.defer()
            self.me.cast(Back.answer, reply)
            # The caller waits for a reply that this handler no longer owes it.
            with pytest.raises(kb.CallTimeout):
                await caller.within(0.05).call(Front.name)
            return "ignored"

        @kb.message
        def answer(self, reply: kb.ReplyTo[str]) -> None:
            reply.send("deferred")

    class Front(kb.Actor):
        @kb.message
        def name(self) -> str:
            return "front"

        @kb.message
        async def go(self, back: kb.ActorRef[Back]) -> str:
            return await back.call(Back.ask, self.me)

    back, front = await kb.start(Back), await kb.start(Front)

    assert "deferred" == await front.call(Front.go, back)


async def test_calling_back_after_the_first_call_has_ended_is_no_circle() -> None:
    one, two = await ring(2)

    assert "ring-1" == await one.call(Ring.ask_next_name)
    assert "ring-0" == await two.call(Ring.ask_next_name)


async def test_two_actors_in_the_middle_of_calls_to_each_other_are_a_circle() -> None:
    one, two = await ring(2)

    outcomes = await asyncio.gather(
        one.call(Ring.ask_next_name), two.call(Ring.ask_next_name), return_exceptions=True
    )

    cycles = [cycle_under(each) for each in outcomes if isinstance(each, BaseException)]
    assert cycles
    assert 3 == len(cycles[0].path)


async def test_stop_called_on_oneself_is_refused() -> None:
    class Suicidal(kb.Actor):
        @kb.message
        async def end(self) -> None:
            await self.me.stop()

    suicidal = await kb.start(Suicidal)
    with pytest.raises(kb.ActorExited) as caught:
        await suicidal.call(Suicidal.end)

    assert isinstance(caught.value.__cause__, kb.CallCycle)
