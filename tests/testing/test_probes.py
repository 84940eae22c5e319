"""Probes: what they take, what they say when it does not come, and how they stand in for an actor."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest

import koboshi as kb
from koboshi import testing
from koboshi.testing import Probe


class Counter(kb.Actor):
    def __init__(self) -> None:
        raise AssertionError("a probe must not run the constructor of the class that it stands in for")

    @kb.message
    def add(self, n: int, *, twice: bool = False) -> int:
        raise AssertionError

    @kb.message
    async def reset(self) -> None:
        raise AssertionError

    def on_stop(self, reason: kb.ExitReason) -> None:
        raise AssertionError("nor its end")


class Client(kb.Actor):
    def __init__(self, counter: kb.ActorRef[Counter]) -> None:
        self.counter = counter

    @kb.message
    async def twice(self, n: int) -> int:
        return await self.counter.call(Counter.add, n) * 2

    @kb.message
    def fail(self) -> None:
        raise ValueError("on purpose")


@dataclass
class Question:
    text: str
    reply_to: kb.ReplyTo[str]


async def test_expect_takes_the_oldest_that_fits_and_leaves_the_others() -> None:
    async with await Probe.start() as probe:
        for value in ("a", 1, "b", 2):
            probe.ref.tell(value)

        assert 1 == await probe.expect(int)
        assert "b" == await probe.expect(lambda message: message == "b")
        assert 2 == await probe.expect(2)
        assert "a" == await probe.expect(str)
        await probe.refuse()


async def test_expect_does_not_confuse_equal_messages() -> None:
    async with await Probe.start() as probe:
        first, second = [1], [1]
        probe.ref.tell(first)
        probe.ref.tell(second)

        assert first is await probe.expect(list)
        assert second is await probe.expect(list)


@testing.virtual_time()
async def test_expect_waits_and_shows_what_came_instead() -> None:
    async with await Probe.start() as probe:
        probe.ref.tell("one")
        probe.ref.tell("two")
        with pytest.raises(testing.Unexpected) as caught:
            await probe.expect(int, timeout=3)

        assert "expected int within 3 s; in the mailbox:\n  'one'\n  'two'" == str(caught.value)
        assert ("int", ("'one'", "'two'")) == (caught.value.wanted, caught.value.came)
        assert 1003.0 == testing.clock().time()


@testing.virtual_time()
async def test_expect_gets_what_comes_while_it_waits() -> None:
    async with await Probe.start() as probe:
        testing.clock().call_later(2, probe.ref.tell, "late")

        assert "late" == await probe.expect("late", timeout=5)
        assert 1002.0 == testing.clock().time()


@testing.virtual_time()
async def test_refuse_fails_at_what_comes_within_its_time() -> None:
    async with await Probe.start() as probe:
        testing.clock().call_later(2, probe.ref.tell, "late")
        await probe.refuse(str, within=1.5)
        with pytest.raises(testing.Unexpected, match="refused str or 3, and 'late' came"):
            await probe.refuse(str, 3, within=1)
        await probe.refuse(int)


async def test_refuse_without_a_time_sees_what_is_on_its_way() -> None:
    async with await Probe.start() as probe, await Probe.start() as other:
        probe.ref.tell("on its way")
        with pytest.raises(testing.Unexpected, match="refused any message"):
            await probe.refuse()
        await other.refuse()


async def test_it_sees_ends_as_another_actor_would() -> None:
    async with await Probe.start() as probe:
        watched, linked = await kb.start(Client, probe.ref), await kb.start(Client, probe.ref)  # type: ignore[arg-type]
        monitor = await probe.monitor(watched)
        await probe.link(linked)
        watched.cast(Client.fail)
        linked.cast(Client.fail)

        down = await probe.expect_down(watched, kb.Crashed)
        assert (monitor, watched) == (down.monitor, down.target)
        assert linked == (await probe.expect_exit(linked)).sender
        assert probe.ref.alive


async def test_an_unlinked_probe_hears_nothing() -> None:
    async with await Probe.start() as probe:
        other = await kb.start(Client, probe.ref)  # type: ignore[arg-type]
        await probe.link(other)
        await probe.unlink(other)
        other.cast(Client.fail)
        await probe.refuse()


@testing.virtual_time()
async def test_the_wrong_end_is_not_the_expected_one() -> None:
    async with await Probe.start() as probe:
        watched = await kb.start(Client, probe.ref)  # type: ignore[arg-type]
        await probe.monitor(watched)
        await watched.stop()
        with pytest.raises(testing.Unexpected, match=r"expected Down of .* for Crashed within 1 s.*\n.*Nor"):
            await probe.expect_down(watched, kb.Crashed)

        assert kb.Normal() == (await probe.expect_down(watched, kb.Normal())).reason


async def test_a_request_that_fails_is_raised_in_the_test_and_the_probe_goes_on() -> None:
    async with await Probe.start(traps=False) as probe:
        gone = await kb.start(Client, probe.ref)  # type: ignore[arg-type]
        await gone.stop()
        with pytest.raises(kb.ActorExited):
            await probe.link(gone)

        assert probe.ref.alive


async def test_a_probe_that_does_not_trap_dies_of_its_links() -> None:
    probe = await Probe.start(traps=False)
    other = await kb.start(Client, probe.ref)  # type: ignore[arg-type]
    await probe.link(other)
    other.cast(Client.fail)

    assert isinstance(await probe.ref.wait_exit(), kb.Crashed)


async def test_reply_answers_the_object_that_was_expected_last() -> None:
    async with await Probe.start() as probe:

        async def asks() -> None:
            answer = await probe.ref.ask(lambda reply_to: Question("why?", reply_to))  # type: ignore[var-annotated]
            probe.ref.tell(("answer", answer))

        kb.spawn(asks)
        assert "why?" == (await probe.expect(Question)).text
        assert probe.reply("because")
        assert not probe.reply("again")
        assert ("answer", "because") == await probe.expect(tuple)
        with pytest.raises(kb.UsageError, match="holds no ReplyTo"):
            probe.reply("nobody")


async def test_it_stands_in_for_an_actor_and_answers_its_calls_one_by_one() -> None:
    async with await Probe.of(Counter) as probe:
        client = await kb.start(Client, probe.ref)

        async def asks() -> None:
            client_says = await client.call(Client.twice, 3)
            probe.ref.tell(client_says)

        kb.spawn(asks)
        call = await probe.expect_call(Counter.add)
        assert ((3,), {}) == (call.args, call.kwargs)
        assert "Counter.add(3)" == repr(call)
        assert call.reply(21)
        assert 42 == await probe.expect(int)
        await client.stop()


async def test_it_answers_by_a_script() -> None:
    async with await Probe.of(Counter) as probe:
        probe.answer(Counter.add, lambda n, twice=False: n * (2 if twice else 1))
        assert 3 == await probe.ref.call(Counter.add, 3)
        assert 6 == await probe.ref.call(Counter.add, 3, twice=True)
        probe.answer(Counter.add, 7)
        assert 7 == await probe.ref.call(Counter.add, 1)
        probe.answer(Counter.add, ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await probe.ref.call(Counter.add, 1)

        assert ["add"] * 4 == [each.message.__name__ for each in probe.calls]
        await probe.refuse()
        assert probe.ref.alive


async def test_a_script_that_fails_fails_the_call_and_not_the_probe() -> None:
    def refuses(n: int) -> int:
        raise LookupError(n)

    async with await Probe.of(Counter) as probe:
        probe.answer(Counter.add, refuses)
        with pytest.raises(LookupError, match="5"):
            await probe.ref.call(Counter.add, 5)

        assert probe.ref.alive


async def test_a_stand_in_checks_arguments_as_the_class_does() -> None:
    async with await Probe.of(Counter) as probe:
        with pytest.raises(kb.UsageError, match="sent arguments that do not fit"):
            probe.ref.cast(Counter.add)  # type: ignore[call-arg]


@testing.virtual_time()
async def test_a_call_that_does_not_come_is_named() -> None:
    async with await Probe.of(Counter) as probe:
        probe.ref.cast(Counter.reset)
        with pytest.raises(testing.Unexpected, match=r"call of Counter.add within 1 s.*\n  Counter.reset"):
            await probe.expect_call(Counter.add)


async def test_wrong_uses_are_refused() -> None:
    with pytest.raises(kb.UsageError, match=r"Probe.of takes a subclass of kb.Actor, got <class 'int'>"):
        await Probe.of(int)  # type: ignore[type-var]
    async with await Probe.of(Counter) as probe:
        with pytest.raises(kb.UsageError, match="message must be a method marked with @message"):
            probe.answer(print, 1)  # type: ignore[arg-type]


def test_its_error_survives_a_pickle() -> None:
    error = testing.Unexpected("text", wanted="int", came=("'a'",))
    again = pickle.loads(pickle.dumps(error))

    assert (str(error), error.wanted, error.came) == (str(again), again.wanted, again.came)
