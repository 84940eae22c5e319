"""`trace`, `log`, `statistics`, `install`, `remove`, `no_debug`: what they tell, and that they do no harm."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest
from tests.otp.introspection.watched import Listener, Till, Unprintable, count_events, failing_hook
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp, testing

IN, OUT, CHANGE, FAILED = otp.MessageIn, otp.MessageOut, otp.StateChange, otp.MessageFailed


def told(*totals: int) -> list[str]:
    """How a Till's state prints in a change."""
    return [str({"total": total, "secret": "***"}) for total in totals]


async def test_a_trace_tells_of_each_message_its_reply_and_the_change_of_state() -> None:
    ref = await kb.start(Till)
    events: list[Any] = []
    kb.listen(events.append)
    await otp.trace(ref)
    await ref.call(Till.add, 2)
    await ref.call(Till.add, 0)

    name = "Till#1"
    assert [
        IN(name, "Till.add", (2,), {}, call=True),
        OUT(name, "Till.add", 2),
        CHANGE(name, "Till.add", *told(0, 2)),
        IN(name, "Till.add", (0,), {}, call=True),
        OUT(name, "Till.add", 2),
    ] == events
    await otp.trace(ref, False)
    await ref.call(Till.add, 2)
    assert 5 == len(events)


async def test_a_trace_tells_of_casts_objects_and_callbacks_by_their_names() -> None:
    ref, listener = await kb.start(Till), await kb.start(Listener)
    await otp.trace(ref, to=listener)
    ref.cast(Till.add, 1)
    ref.tell("object")
    ref.cast(Till.go_on, "continued")
    victim = await kb.start(Till)
    ref.cast(Till.watch, victim)
    await otp.get_state(ref)
    victim.exit(kb.Shutdown("over"))
    await otp.get_state(ref)
    heard = await listener.call(Listener.wait_for, 1)

    assert [
        ("Till.add", (1,)),
        ("Till.on_info", ("object",)),
        ("Till.go_on", ("continued",)),
        ("Till.on_continue", ("continued",)),
        ("Till.watch", (victim,)),
        ("Till.on_exit", (kb.Exit(victim, kb.Shutdown("over")),)),
    ] == [(event.message, event.args) for event in heard if isinstance(event, IN)][:6]
    assert "Till.on_down" == [event.message for event in heard if isinstance(event, IN)][6]
    assert not [event for event in heard if isinstance(event, OUT)]
    assert not [event for event in heard if isinstance(event, IN) and event.call]


async def test_an_async_handler_is_told_of_at_its_beginning_and_its_end() -> None:
    ref = await kb.start(Till)
    await otp.log(ref)
    held = asyncio.ensure_future(ref.call(Till.add_slowly, 2, times=3))
    await ref._cell.actor.entered.wait()
    ref._cell.actor.gate.set()
    await held

    assert [
        IN("Till#1", "Till.add_slowly", (2,), {"times": 3}, call=True),
        OUT("Till#1", "Till.add_slowly", 6),
        CHANGE("Till#1", "Till.add_slowly", *told(0, 6)),
    ] == await otp.log(ref, "get")


async def test_a_reply_that_is_deferred_is_not_told_of_as_a_reply() -> None:
    ref = await kb.start(Till)
    await otp.log(ref)
    for _ in range(2):
        called = asyncio.ensure_future(ref.call(Till.later))
        await asyncio.sleep(0)
        ref._cell.actor.replies.pop().send("done")
        assert "done" == await called  # type: ignore[func-returns-value]
    await otp.suspend(ref)
    called = asyncio.ensure_future(ref.call(Till.later))
    await otp.resume(ref)
    await otp.get_state(ref)
    ref._cell.actor.replies.pop().send("done")
    assert "done" == await called  # type: ignore[func-returns-value]

    assert [IN] * 3 == [type(event) for event in await otp.log(ref, "get")]


@pytest.mark.parametrize("idle", [True, False])
async def test_a_call_that_is_passed_on_is_answered_and_told_of_where_it_is_answered(idle: bool) -> None:
    ref, other = await kb.start(Till), await kb.start(Till)
    await otp.log(ref)
    await otp.log(other)
    if not idle:
        ref.cast(Till.remember, 1)
    assert 3 == await ref.call(Till.pass_on, other, 3)

    last = (await otp.log(ref, "get"))[-1]
    assert IN("Till#1", "Till.pass_on", (other, 3), {}, call=True) == last
    assert [IN, OUT, CHANGE] == [type(event) for event in await otp.log(other, "get")]


async def test_a_handler_that_raises_is_told_of_before_its_actor_ends() -> None:
    ref, listener = await kb.start(Till), await kb.start(Listener)
    await otp.trace(ref, to=listener)
    with pytest.raises(kb.ActorExited):
        await ref.call(Till.fail)
    last = (await listener.call(Listener.wait_for, 2))[-1]

    assert isinstance(last, FAILED)
    assert ("Till.fail", "no change") == (last.message, str(last.error))


async def test_messages_that_waited_when_it_was_installed_are_told_of_too() -> None:
    ref = await kb.start(Till)
    await otp.suspend(ref)
    ref.cast(Till.add, 1)
    ref.tell("object")
    await otp.log(ref)
    await otp.resume(ref)

    assert ["Till.add", "Till.add", "Till.on_info"] == [
        getattr(event, "message", None) for event in (await otp.log(ref, "get"), await otp.log(ref, "get"))[1]
    ]


async def test_messages_that_waited_when_it_was_removed_are_handled_untold() -> None:
    ref, listener = await kb.start(Till), await kb.start(Listener)
    await otp.trace(ref, to=listener)
    await otp.suspend(ref)
    ref.cast(Till.add, 1)
    await otp.no_debug(ref)
    await otp.resume(ref)

    assert 1 == (await otp.get_state(ref))["total"]
    assert [] == await listener.call(Listener.wait_for, 0)


def test_an_idle_timeout_is_told_of_and_still_comes() -> None:
    async def main() -> None:
        ref = await kb.start(Till)
        await otp.log(ref)
        await ref.call(Till.idle_soon, 2.0)
        await asyncio.sleep(3)

        assert "idle" in (await otp.get_state(ref))["seen"]
        assert "Till.on_idle" in [getattr(event, "message", None) for event in await otp.log(ref, "get")]

    run_virtual(main)


async def test_a_log_keeps_the_last_events_and_is_forgotten_when_it_is_off() -> None:
    ref = await kb.start(Till)
    assert [] == await otp.log(ref, "get")
    await otp.log(ref, size=2)
    for number in range(5):
        ref.cast(Till.remember, number)

    assert [(3,), (4,)] == [event.args for event in await otp.log(ref, "get") if isinstance(event, IN)]
    await otp.log(ref, "on", size=3)
    ref.cast(Till.remember, 5)
    assert [(3,), (4,), (5,)] == [event.args for event in await otp.log(ref, "get") if isinstance(event, IN)]
    await otp.log(ref, "off")
    await otp.log(ref)
    assert [] == await otp.log(ref, "get")


def test_statistics_count_from_when_they_were_turned_on() -> None:
    async def main() -> None:
        ref = await kb.start(Till)
        await ref.call(Till.add, 1)
        assert await otp.statistics(ref) is None
        await otp.statistics(ref, "on")
        await asyncio.sleep(2)
        await ref.call(Till.add, 1)
        ref.cast(Till.add, 1)
        await otp.statistics(ref, "on")

        assert otp.ActorStatistics(seconds=2.0, messages_in=2, messages_out=1, failed=0) == (
            await otp.statistics(ref, "get")
        )
        await otp.statistics(ref, "off")
        assert await otp.statistics(ref) is None

    run_virtual(main)


async def test_a_debug_function_has_a_state_and_ends_itself_with_done() -> None:
    ref = await kb.start(Till)
    seen: list[Any] = []

    def hook(state: int, event: otp.TraceEvent) -> Any:
        seen.append((state, type(event)))
        return count_events(state, event)

    assert await otp.install(ref, hook, 0)
    await ref.call(Till.add, 1)
    await ref.call(Till.add, 1)

    assert [(0, IN), (1, OUT), (2, CHANGE)] == seen
    assert not await otp.remove(ref, hook)
    assert () == (await otp.get_status(ref)).looked_at_by


async def test_a_debug_function_is_installed_once_under_one_id_and_removed_by_it() -> None:
    ref = await kb.start(Till)
    first: list[Any] = []
    second: list[Any] = []
    assert await otp.install(ref, lambda _, event: first.append(event), id="mine")
    assert not await otp.install(ref, lambda _, event: second.append(event), id="mine")
    assert await otp.install(ref, lambda _, event: second.append(event), id="other")
    await ref.call(Till.add, 0)
    assert await otp.remove(ref, "mine")
    assert not await otp.remove(ref, "mine")
    await ref.call(Till.add, 0)

    assert (2, 4) == (len(first), len(second))


async def test_a_debug_function_that_fails_is_removed_with_a_report_and_the_actor_goes_on() -> None:
    ref = await kb.start(Till)
    events: list[Any] = []
    kb.listen(events.append)
    await otp.install(ref, failing_hook)
    await otp.log(ref)

    assert 1 == await ref.call(Till.add, 1)
    removed = [event for event in events if isinstance(event, otp.DebugRemoved)]
    assert ["debug function failing_hook"] == [event.removed for event in removed]
    assert "a bad debug function" in removed[0].error
    assert ("log of 10",) == (await otp.get_status(ref)).looked_at_by


async def test_a_trace_to_a_process_that_is_gone_removes_itself() -> None:
    ref, listener = await kb.start(Till), await kb.start(Listener)
    await otp.trace(ref, to=listener)
    listener.kill()
    await listener.wait_exit()
    await ref.call(Till.add, 1)

    assert () == (await otp.get_status(ref)).looked_at_by


async def test_a_trace_to_a_full_mailbox_costs_the_trace_and_not_the_actor() -> None:
    async with kb.Supervisor(kb.child(Listener).options(mailbox=1)) as tree:
        listener = tree.ref(Listener, "Listener")
        events: list[Any] = []
        kb.listen(events.append)
        listener.suspend()
        ref = await kb.start(Till)
        await otp.trace(ref, to=listener)

        assert 1 == await ref.call(Till.add, 1)
        assert ["MailboxFull"] == [
            event.error.partition("(")[0] for event in events if isinstance(event, otp.DebugRemoved)
        ]
        listener.resume()


async def test_an_actor_that_nobody_looks_at_runs_its_own_functions() -> None:
    ref = await kb.start(Till)
    info, protocol = ref._cell.info, ref._cell.protocol
    await otp.trace(ref)
    await otp.log(ref)
    await otp.statistics(ref, "on")
    await otp.install(ref, failing_hook)
    assert ref._cell.info is not info
    await otp.no_debug(ref)

    assert ref._cell.info is info
    assert ref._cell.protocol is protocol


async def test_a_state_that_cannot_be_shown_is_no_reason_to_end() -> None:
    ref = await kb.start(Unprintable)
    await otp.log(ref)

    assert 1 == await ref.call(Unprintable.echo, 1)
    assert [IN, OUT] == [type(event) for event in await otp.log(ref, "get")]


async def test_a_supervisor_is_traced_as_any_actor() -> None:
    async with kb.DynamicSupervisor() as tree:
        await otp.log(tree.me)
        first = await tree.start_child(kb.child(Till))
        victims = await tree.which_children()

        assert [first] == [each.ref for each in victims]
        messages = [event.message for event in await otp.log(tree.me, "get") if isinstance(event, IN)]
        assert ["DynamicSupervisor.start_child", "Supervisor.which_children"] == messages


async def test_a_traced_dynamic_supervisor_still_starts_its_children_side_by_side() -> None:
    started = [asyncio.Event(), asyncio.Event()]

    class Waits(kb.Actor):
        def __init__(self, number: int) -> None:
            self.number = number

        async def on_start(self) -> None:
            started[self.number].set()
            await started[1 - self.number].wait()

    async with kb.DynamicSupervisor() as tree:
        await otp.log(tree.me)

        assert 2 == len(await asyncio.gather(*(tree.start_child(kb.child(Waits, n)) for n in (0, 1))))


async def test_what_is_traced_still_obeys_orders_to_end() -> None:
    for end in ("stop", "exit", "kill"):
        ref = await kb.start(Till)
        await otp.log(ref)
        await otp.suspend(ref)
        if end == "stop":
            await ref.stop()
        elif end == "exit":
            ref.exit(kb.Shutdown())
        else:
            ref.kill()

        assert await ref.wait_exit(2) is not None


async def test_options_that_do_not_exist_are_refused() -> None:
    ref = await kb.start(Till)
    wrong: Any = "yes"
    with pytest.raises(kb.UsageError, match='log takes "on", "get" or "off", got \'yes\''):
        await otp.log(ref, wrong)
    with pytest.raises(kb.UsageError, match='statistics takes "on", "get" or "off", got \'yes\''):
        await otp.statistics(ref, wrong)
    with pytest.raises(kb.UsageError, match="size takes a whole number >= 1, got 0"):
        await otp.log(ref, size=0)
    with pytest.raises(kb.UsageError, match="trace takes on=True or on=False, got 'yes'"):
        await otp.trace(ref, wrong)
    with pytest.raises(kb.UsageError, match="trace takes a ref or None for to, got 'yes'"):
        await otp.trace(ref, to=wrong)
    with pytest.raises(kb.UsageError, match="an id must be hashable"):
        await otp.install(ref, failing_hook, id=[])
    assert not await otp.remove(ref, [])
    with pytest.raises(kb.UsageError, match="fn takes a function, got 'yes'"):
        await otp.install(ref, wrong)


def test_events_travel_and_what_cannot_is_shown_as_its_repr() -> None:
    plain = IN("Till#1", "Till.add", (1,), {"a": 2}, call=True)
    assert plain == pickle.loads(pickle.dumps(plain))

    lock = threading.Lock()
    odd = IN("Till#1", "Till.add", (1, lock), {"lock": lock, "a": 1}, call=False)
    assert IN("Till#1", "Till.add", (1, repr(lock)), {"lock": repr(lock), "a": 1}, call=False) == (
        pickle.loads(pickle.dumps(odd))
    )
    failed = FAILED("Till#1", "Till.fail", ValueError(lock))
    assert repr(ValueError(lock)) == str(pickle.loads(pickle.dumps(failed)).error)
    assert otp.DONE is pickle.loads(pickle.dumps(otp.DONE))
    assert "otp.DONE" == repr(otp.DONE)


def test_an_actor_that_is_traced_to_itself_or_in_a_circle_is_told_of_each_message_once() -> None:
    async def main() -> list[list[str]]:
        alone, one, other = [await kb.start(Collector) for _ in range(3)]
        await otp.trace(alone, to=alone)
        await otp.trace(one, to=other)
        await otp.trace(other, to=one)
        for ref in (alone, one, other):
            ref.cast(Collector.poke)
        await testing.wait_idle()
        return [
            [type(each).__name__ for each in await ref.call(Collector.told)] for ref in (alone, one, other)
        ]

    told = run_virtual(main)

    assert [["MessageIn", "StateChange"]] * 3 == [each[:2] for each in told]


async def test_an_async_debug_function_is_refused() -> None:
    async def hook(state: int, event: otp.TraceEvent) -> int:
        return state

    with pytest.raises(kb.UsageError, match="so it is a plain function; got"):
        await otp.install(await kb.start(Till), hook, 0)


class Collector(kb.Actor):
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.pokes = 0

    @kb.message
    def poke(self) -> None:
        self.pokes += 1

    @kb.message
    def told(self) -> list[Any]:
        return self.seen

    def on_info(self, message: Any, /) -> None:
        self.seen.append(message)
