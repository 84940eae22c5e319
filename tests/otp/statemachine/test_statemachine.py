"""State machines: rules 70 to 72 of gen_statem, and what a handler may ask for."""

from __future__ import annotations

import asyncio
import os
from enum import Enum
from typing import Any

import pytest
from tests.otp.statemachine.machines import Door, Recorder
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


def told(*steps: Any, wait: float = 0.0) -> list[tuple[str, Any]]:
    """What a recorder wrote down: a step is a tuple for `do`, a number of seconds, or what to tell."""

    async def main() -> list[tuple[str, Any]]:
        ref = await kb.start(Recorder)
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, tuple):
                ref.cast(Recorder.do, *step)
            else:
                ref.tell(step)
        await asyncio.sleep(wait)
        seen = await ref.call(Recorder.told)
        await ref.stop()
        assert ("A", "enter from A") == seen[0]
        return seen[1:]

    return run_virtual(main)


async def test_the_handler_of_an_event_is_that_of_the_state_and_its_value_is_the_reply() -> None:
    door = await kb.start(Door)

    assert ["opened", "closed", "opened"] == [await door.call(Door.push) for _ in range(3)]
    assert ["CLOSED->CLOSED", "CLOSED->OPEN", "OPEN->CLOSED", "CLOSED->OPEN"] == await door.call(Door.log)
    await door.stop()


async def test_a_handler_with_several_targets_says_where_it_goes_or_stays() -> None:
    door = await kb.start(Door)
    await door.call(Door.lock)

    assert not await door.call(Door.unlock, "0000")
    assert await door.call(Door.unlock, "1234")
    assert "opened" == await door.call(Door.push)
    await door.stop()


async def test_an_event_that_a_state_does_not_take_is_its_callers_error_and_the_machine_goes_on() -> None:
    door = await kb.start(Door)
    await door.call(Door.lock)
    with pytest.raises(otp.UnexpectedEvent, match="Door does not take 'push' in state LOCKED"):
        await door.call(Door.push)
    assert await door.call(Door.unlock, "1234")
    await door.stop()


async def test_a_cast_that_a_state_does_not_take_is_reported_and_dropped() -> None:
    events: list[kb.events.Event] = []
    stop = kb.listen(events.append)
    door = await kb.start(Door)
    door.cast(Door.unlock, "1234")
    door.tell("anything")
    await door.call(Door.log)
    stop()
    await door.stop()

    assert ["unlock in CLOSED", "'anything'"] == [
        e.message for e in events if isinstance(e, kb.events.Unhandled)
    ]


def test_a_machine_is_an_ordinary_object_without_a_runtime() -> None:
    door = Door()

    assert ("opened", "closed") == (door.push(), door.push())
    door.lock()
    assert Door.State.LOCKED is door.state
    with pytest.raises(otp.UnexpectedEvent):
        door.push()
    assert door.unlock("1234")


# -- rule 70 -----------------------------------------------------------------------------------------------


def test_postponed_events_are_retried_after_a_real_change_of_state_oldest_first_and_before_newer_mail() -> (
    None
):
    keep = ("postpone_in", "A")

    assert [
        ("A", "one"),
        ("A", "two"),
        ("A", "go"),
        ("B", "enter from A"),
        ("B", "one"),
        ("B", "two"),
        ("B", "newer"),
    ] == told(("one", keep), ("two", keep), ("go", ("go", "B")), ("newer",))


def test_neither_staying_nor_repeating_a_state_retries_postponed_events() -> None:
    assert [
        ("A", "one"),
        ("A", "stay"),
        ("A", "same"),
        ("A", "repeat"),
        ("A", "enter from A"),
    ] == told(("one", ("postpone_in", "A")), ("stay",), ("same", ("go", "A")), ("repeat", ("repeat",)))


def test_inserted_events_go_before_postponed_ones() -> None:
    assert [
        ("A", "one"),
        ("A", "go"),
        ("B", "enter from A"),
        ("B", "inserted"),
        ("B", "one"),
    ] == told(("one", ("postpone_in", "A")), ("go", ("insert", "inserted"), ("go", "B")))


def test_a_postponed_event_that_is_postponed_again_waits_for_the_next_change() -> None:
    async def main() -> list[Any]:
        ref = await kb.start(Recorder)
        waiting = asyncio.ensure_future(
            ref.call(Recorder.do, "q", ("postpone_in", "A"), ("postpone_in", "B"))
        )
        await asyncio.sleep(0)
        await ref.call(Recorder.do, "1", ("go", "B"))
        await ref.call(Recorder.do, "2", ("go", "A"))
        seen = [name for _, name in await ref.call(Recorder.told) if "enter" not in name]
        waiting.cancel()
        await ref.stop()
        return seen

    assert ["q", "1", "q", "2", "q"] == run_virtual(main)


def test_the_caller_of_a_postponed_event_has_its_reply_when_it_is_handled() -> None:
    async def main() -> tuple[bool, str, str]:
        ref = await kb.start(Recorder)
        call = asyncio.ensure_future(ref.call(Recorder.do, "late", ("postpone_in", "A")))
        await asyncio.sleep(1.0)
        early = call.done()
        changed = await ref.call(Recorder.do, "go", ("go", "B"))
        answer = await call
        await ref.stop()
        return early, changed, answer

    assert (False, "go done", "late done") == run_virtual(main)


async def test_the_caller_of_a_postponed_event_hears_of_the_machines_end_at_once() -> None:
    ref = await kb.start(Recorder)
    call = asyncio.ensure_future(ref.call(Recorder.do, "late", ("postpone_in", "A")))
    await asyncio.sleep(0)
    ref.cast(Recorder.do, "fail", ("fail", "bad"))
    with pytest.raises(kb.ActorExited) as ended:
        await call

    assert kb.Crashed(ValueError("bad")) == ended.value.reason


# -- rule 71 -----------------------------------------------------------------------------------------------


def test_inserted_events_run_in_their_order_before_anything_that_waits() -> None:
    assert [("A", "first"), ("A", "x"), ("A", "x2"), ("A", "y"), ("A", "second")] == told(
        ("first", ("insert", "x", ("insert", "x2")), ("insert", "y")), ("second",)
    )


def test_a_reply_is_sent_before_the_next_event_is_handled() -> None:
    class Machine(otp.StateMachine):
        class State(Enum):
            A = 1

        initial = State.A
        final = (State.A,)

        @otp.event
        def ask(self) -> str:
            self.insert(Machine.follow)
            return "answer"

        @otp.event
        async def follow(self) -> None:
            await asyncio.sleep(10.0)

    async def main() -> tuple[str, float]:
        ref = await kb.start(Machine)
        began = asyncio.get_running_loop().time()
        answer = await ref.call(Machine.ask)
        elapsed = asyncio.get_running_loop().time() - began
        ref.kill()
        return answer, elapsed

    assert ("answer", 0.0) == run_virtual(main)


def test_the_end_of_a_zero_timeout_comes_after_what_waits_inside_and_before_new_mail() -> None:
    assert [
        ("A", "first"),
        ("A", "inserted"),
        ("A", ("t", 1)),
        ("A", ("u", 2)),
        ("A", "mail"),
    ] == told(("first", ("timeout", "t", 0, 1), ("timeout", "u", 0, 2), ("insert", "inserted")), ("mail",))


# -- rule 72 -----------------------------------------------------------------------------------------------


def test_a_state_timeout_is_cancelled_by_a_change_of_state() -> None:
    steps = [("set", ("state_timeout", 1.0, "over")), 0.5, ("go", ("go", "B"))]

    assert ["set", "go", "enter from A"] == [name for _, name in told(*steps, wait=5.0)]


@pytest.mark.parametrize("action", [("repeat",), ("go", "A"), ("insert", "x")])
def test_a_state_timeout_survives_keeping_and_repeating_the_state(action: Any) -> None:
    seen = told(("set", ("state_timeout", 1.0, "over")), 0.5, ("stay", action), wait=5.0)

    assert ("A", ("state timeout", "over")) == seen[-1]


def test_a_state_timeout_that_is_set_with_the_change_is_of_the_new_state() -> None:
    seen = told(("set", ("state_timeout", 1.0, "new"), ("go", "B")), wait=5.0)

    assert [("A", "set"), ("B", "enter from A"), ("B", ("state timeout", "new"))] == seen


def test_an_event_timeout_is_cancelled_by_any_event() -> None:
    steps = [("set", ("event_timeout", 1.0, "silence")), 0.5, "info"]
    assert ["set", "info"] == [name for _, name in told(*steps, wait=5.0)]

    seen = told(("set", ("event_timeout", 1.0, "silence")), wait=5.0)
    assert [("A", "set"), ("A", ("event timeout", "silence"))] == seen


def test_a_zero_event_timeout_comes_only_when_nothing_else_waits_inside() -> None:
    assert ["set", "x"] == [
        n for _, n in told(("set", ("event_timeout", 0, "silence"), ("insert", "x")), wait=1.0)
    ]
    assert ["set", ("event timeout", "silence")] == [
        n for _, n in told(("set", ("event_timeout", 0, "silence")))
    ]


def test_a_named_timeout_survives_changes_of_state_until_it_is_set_anew_or_cancelled() -> None:
    seen = told(("set", ("timeout", "t", 1.0, "x")), ("go", ("go", "B")), wait=5.0)
    assert ("B", ("t", "x")) == seen[-1]

    again = told(
        ("set", ("timeout", "t", 1.0, "x")), 0.9, ("set", ("timeout", "t", 1.0, "y")), 0.9, "mid", wait=5.0
    )
    assert ["set", "set", "mid", ("t", "y")] == [name for _, name in again]

    none = told(("set", ("timeout", "t", 1.0, "x")), 0.5, ("cancel", ("cancel", "t")), wait=5.0)
    assert ["set", "cancel"] == [name for _, name in none]


def test_a_timeout_whose_end_is_on_its_way_does_not_come_once_it_is_cancelled() -> None:
    async def main() -> list[Any]:
        ref = await kb.start(Recorder)
        await ref.call(Recorder.do, "set", ("timeout", "t", 1.0, "x"))
        ref.suspend()
        await asyncio.sleep(0.5)
        ref.cast(Recorder.do, "cancel", ("cancel", "t"))
        await asyncio.sleep(1.0)  # its end is in the mailbox now, behind the order to cancel it
        ref.resume()
        seen = [name for _, name in await ref.call(Recorder.told)]
        await ref.stop()
        return seen[1:]

    assert ["set", "cancel"] == run_virtual(main)


def test_a_timeout_has_another_payload_and_its_old_time_when_it_is_updated() -> None:
    seen = told(
        ("set", ("timeout", "t", 1.0, "x")), 0.9, ("update", ("update", "t", "y")), 0.15, "later", wait=5.0
    )
    assert ["set", "update", ("t", "y"), "later"] == [name for _, name in seen]

    assert ["update", ("t", "y")] == [name for _, name in told(("update", ("update", "t", "y")))]


def test_a_state_is_entered_at_the_start_on_a_change_and_on_a_repetition_alone() -> None:
    steps = [("same", ("go", "A")), ("repeat", ("repeat",)), ("go", ("go", "B"))]

    assert ["same", "repeat", "enter from A", "go", "enter from A"] == [name for _, name in told(*steps)]


@pytest.mark.parametrize("what", ["go", "stay", "repeat", "postpone", "insert"])
async def test_entering_a_state_may_not_change_it_nor_postpone_nor_insert(what: str) -> None:
    class Machine(otp.StateMachine):
        class State(Enum):
            A = 1

        initial = State.A
        final = (State.A,)

        @otp.event
        def tick(self) -> None:
            pass

        @otp.when(State.A, otp.ENTER)
        def enter(self, old: Enum) -> None:
            args = {"go": (self.State.A,), "insert": (Machine.tick,)}.get(what, ())
            getattr(self, what)(*args)

    with pytest.raises(kb.StartError, match=f"cannot {what}"):
        await kb.start(Machine)


# -- ends, errors, and other events ------------------------------------------------------------------------


async def test_a_crash_in_a_handler_ends_the_machine_as_any_actor() -> None:
    ref = await kb.start(Recorder)
    with pytest.raises(kb.ActorExited) as ended:
        await ref.call(Recorder.do, "x", ("fail", "bad"))

    assert kb.Crashed(ValueError("bad")) == ended.value.reason


async def test_a_stop_is_obeyed_before_anything_that_waits_inside_and_its_caller_is_answered() -> None:
    ref = await kb.start(Recorder)
    monitor = asyncio.ensure_future(ref.wait_exit())
    await asyncio.sleep(0)

    assert "x done" == await ref.call(Recorder.do, "x", ("insert", "never", ("fail",)), ("stop",))
    assert kb.Normal() == await monitor


async def test_going_where_the_row_does_not_lead_is_an_error_that_names_it() -> None:
    class Machine(otp.StateMachine):
        class State(Enum):
            A = 1
            B = 2

        initial = State.A

        @otp.event
        def tick(self) -> None:
            pass

        @otp.when(State.A, tick, to=(State.B,))
        def one(self) -> None:
            self.go(self.State.B)

        @otp.when(State.B, tick, to=State.A)
        def two(self) -> None:
            self.go(self.State.B)

        @otp.when(otp.ANY_STATE, otp.INFO)
        def info(self, message: Any) -> None:
            self.go(self.State.A)

    ref = await kb.start(Machine)
    await ref.call(Machine.tick)
    await ref.call(Machine.tick)
    ref.tell("go")
    reason = await ref.wait_exit()

    assert isinstance(reason, kb.Crashed)
    assert "the handler of info in B goes to <State.A: 1>, and its row declares none" in str(reason.error)


async def test_a_down_message_is_an_event_too() -> None:
    class Watcher(otp.StateMachine):
        class State(Enum):
            WATCHING = 1
            ALONE = 2

        initial = State.WATCHING
        final = (State.ALONE,)

        @otp.event
        def watch(self, ref: kb.ActorRef[Any]) -> None:
            kb.monitor(ref)

        @otp.event
        def which(self) -> str:
            return self.state.name

        @otp.when(State.WATCHING, otp.INFO, to=State.ALONE)
        def gone(self, message: Any) -> None:
            assert isinstance(message, kb.Down)

    door, watcher = await kb.start(Door), await kb.start(Watcher)
    await watcher.call(Watcher.watch, door)
    await door.stop()

    assert "ALONE" == await watcher.call(Watcher.which)
    await watcher.stop()


def test_async_handlers_may_wait_and_nothing_else_is_handled_meanwhile() -> None:
    class Slow(otp.StateMachine):
        class State(Enum):
            A = 1
            B = 2

        initial = State.A

        def __init__(self) -> None:
            self.seen: list[str] = []

        @otp.event
        async def work(self, name: str) -> str:
            return self.unexpected()

        @otp.event
        def all(self) -> list[str]:
            return self.seen

        @otp.when(State.A, work, to=State.B)  # type: ignore[arg-type]
        async def in_a(self, name: str) -> str:
            await asyncio.sleep(1.0)
            self.seen.append(f"{name} in A")
            self.insert(Slow.note, f"after {name}")
            return name

        @otp.when(State.B, work, to=State.A)
        def in_b(self, name: str) -> str:
            self.seen.append(f"{name} in B")
            return name

        @otp.event
        async def note(self, what: str) -> None:
            await asyncio.sleep(0.5)
            self.seen.append(what)

        @otp.when(State.B, otp.ENTER)
        async def enter(self, old: Enum) -> None:
            await asyncio.sleep(0.25)
            self.seen.append("entered B")

    async def main() -> tuple[list[str], list[str]]:
        ref = await kb.start(Slow)
        answers = await asyncio.gather(*(ref.call(Slow.work, name) for name in "xyz"))
        seen = await ref.call(Slow.all)
        await ref.stop()
        return answers, seen

    assert (
        ["x", "y", "z"],
        ["x in A", "entered B", "after x", "y in B", "z in A", "entered B", "after z"],
    ) == run_virtual(main)


async def test_an_event_of_its_own_is_inserted_and_not_called() -> None:
    class Machine(otp.StateMachine):
        class State(Enum):
            A = 1

        initial = State.A
        final = (State.A,)

        @otp.event
        def one(self) -> None:
            self.two()

        @otp.event
        def two(self) -> None:
            pass

    ref = await kb.start(Machine)
    with pytest.raises(kb.ActorExited) as ended:
        await ref.call(Machine.one)

    assert "use self.insert(Machine.two)" in str(ended.value)


async def test_statistics_and_status_show_the_state_and_what_waits() -> None:
    ref = await kb.start(Recorder)
    ref.cast(Recorder.do, "one", ("postpone_in", "A"))
    await ref.call(Recorder.do, "two", ("timeout", "t", 60.0, None), ("state_timeout", 60.0, None))
    seen = await ref.call(Recorder.statistics)

    assert otp.StateMachineStatistics("A", 0, 1, ("timeout t", "state timeout"), 2, 0) == seen
    assert {"state": "CLOSED", "data": {"code": "1", "entered": []}} == Door("1").format_status()
    assert "<Door CLOSED>" == repr(Door())
    await ref.stop()


async def test_a_snapshot_is_gone_on_from() -> None:
    class Resumed(Door):
        def __init__(self, snapshot: otp.Snapshot) -> None:
            super().__init__()
            self.restore(snapshot)

    door = Door("9")
    door.lock()
    ref = await kb.start(Resumed, door.snapshot())

    assert await ref.call(Resumed.unlock, "9")
    with pytest.raises(kb.UsageError, match="no state 'GONE'"):
        Door().restore(otp.Snapshot("GONE", {}))
    with pytest.raises(kb.UsageError, match="has begun"):
        door.restore(otp.Snapshot("OPEN", {}))
    await ref.stop()


@pytest.mark.slow
async def test_a_machine_on_another_node_is_the_same() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Door).options(id="door", on="n1")) as tree:
        door = tree.ref(Door, "door")

        assert "opened" == await door.call(Door.push)
        assert os.getpid() != await door.call(Door.pid)
        with pytest.raises(otp.UnexpectedEvent) as refused:
            await door.call(Door.lock)
        assert ("Door", "OPEN", "lock") == (refused.value.machine, refused.value.state, refused.value.event)


class Careless(otp.StateMachine):
    class State(Enum):
        ON = 1
        OFF = 2

    initial = State.ON

    @otp.event
    def turn(self) -> None: ...

    @otp.when(State.ON, turn, to=State.OFF)
    @otp.when(State.OFF, turn, to=State.ON)
    def turned(self) -> None:
        pass

    @otp.event
    def name_it(self, name: Any) -> list[str]:
        refused: list[str] = []
        for use in (self.cancel_timeout, lambda name: self.set_timeout(name, 1.0)):
            try:
                use(name)
            except kb.UsageError as error:
                refused.append(str(error))
        return refused


async def test_a_timeout_whose_name_cannot_be_a_key_is_refused_where_it_is_set() -> None:
    ref = await kb.start(Careless)
    said = "a timeout's name must be hashable, such as a string or a tuple, got ['a']"

    assert [said, said] == await ref.call(Careless.name_it, ["a"])
    assert [] == await ref.call(Careless.name_it, ("a",))
