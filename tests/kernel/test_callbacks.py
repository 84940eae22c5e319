"""An actor's life: start, continue, idle, stop, in which order, and what each may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._events import CrashReport, Event
from koboshi._kernel._node import this_node


class Recorder(kb.Actor):
    """Keeps a record that outlives it."""

    def __init__(self, record: list[Any]) -> None:
        self.record = record

    @kb.message
    def put(self, entry: Any) -> Any:
        self.record.append(entry)
        return entry

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")


# -- start ---------------------------------------------------------------------------------------------


async def test_on_start_ends_before_the_first_message() -> None:
    class Starting(Recorder):
        async def on_start(self) -> None:
            self.me.cast(Recorder.put, "cast from on_start")
            await asyncio.sleep(0)
            self.record.append("started")

    record: list[Any] = []
    ref = await kb.start(Starting, record)
    await ref.call(Recorder.put, "first")

    assert ["started", "cast from on_start", "first"] == record


async def test_start_waits_for_on_start() -> None:
    gate = asyncio.Event()

    class Slow(kb.Actor):
        async def on_start(self) -> None:
            await gate.wait()

    start = asyncio.ensure_future(kb.start(Slow))
    await asyncio.sleep(0)
    assert not start.done()
    gate.set()

    assert (await start).alive


class Failing(kb.Actor):
    """Fails to start in one of several ways, after it has taken a name."""

    def __init__(self, way: str, name: str) -> None:
        self.way = way
        kb.register(name)
        if way == "init":
            raise ValueError("torn")

    def on_start(self) -> Any:
        if self.way == "start":
            raise ValueError("torn")
        if self.way == "stop":
            self.stop(kb.Shutdown("no need"))
        if self.way == "raise stop":
            raise kb.Stop(kb.Shutdown("no need"))
        if self.way == "ignore":
            return kb.IGNORE
        return self.later() if self.way.startswith("async") else None

    async def later(self) -> Any:
        await asyncio.sleep(0)
        if self.way == "async":
            raise ValueError("torn")
        if self.way == "async stop":
            self.stop(kb.Shutdown("no need"))
        return kb.IGNORE if self.way == "async ignore" else None

    def on_stop(self, reason: kb.ExitReason) -> None:
        raise AssertionError("on_stop runs only after a complete start")


FAILURES: dict[str, kb.ExitReason | None] = {
    "init": kb.Crashed(ValueError("torn")),
    "start": kb.Crashed(ValueError("torn")),
    "async": kb.Crashed(ValueError("torn")),
    "stop": kb.Shutdown("no need"),
    "raise stop": kb.Shutdown("no need"),
    "async stop": kb.Shutdown("no need"),
    "ignore": None,
    "async ignore": None,
}


@pytest.mark.parametrize("way", FAILURES)
async def test_when_a_start_raises_everything_of_it_is_gone_and_its_name_is_free(way: str) -> None:
    cells = len(kb.processes())
    reason = FAILURES[way]
    for _ in range(3):  # at once, as a retry would
        with pytest.raises(kb.Ignored if reason is None else kb.StartError) as caught:
            await kb.start(Failing, way, "failing")
        assert kb.whereis("failing") is None
        assert cells == len(kb.processes())
        if reason is not None:
            assert isinstance(caught.value, kb.StartError)
            assert reason == caught.value.reason
            assert ("ValueError" in repr(caught.value.__cause__)) == isinstance(reason, kb.Crashed)

    assert (await kb.start(Failing, "not at all", "failing")).alive


async def test_a_name_that_is_taken_runs_no_second_start() -> None:
    runs: list[int] = []

    class Named(kb.Actor):
        def on_start(self) -> None:
            runs.append(1)

    specs = [kb.child(Named).options(id=number, name="only one") for number in range(2)]
    async with kb.Supervisor(specs[0]) as tree:
        with pytest.raises(kb.NameTaken) as caught:
            await tree.start_child(specs[1])
        assert tree.ref(Named, 0).alive
        assert kb.whereis("only one") == caught.value.owner

    assert [1] == runs


def test_a_start_that_takes_too_long_is_killed_and_nothing_of_it_is_left() -> None:
    async def main() -> None:
        class Forever(kb.Actor):
            async def on_start(self) -> None:
                kb.register("forever")
                await asyncio.get_running_loop().create_future()

        async with kb.Supervisor() as tree:
            cells = len(kb.processes())
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(kb.StartTimeout) as caught:
                await tree.start_child(kb.child(Forever).options(start_timeout=2.0))

            assert 2.0 == pytest.approx(loop.time() - began)
            assert isinstance(caught.value.reason, kb.Killed)
            assert kb.whereis("forever") is None
            assert cells == len(kb.processes())
            assert [] == await tree.which_children()

    run_virtual(main)


class Parent(kb.Actor):
    """Starts a linked child that fails."""

    def __init__(self, traps: bool) -> None:
        self.trap_exits(traps)
        self.exits: list[kb.Exit] = []

    @kb.message
    async def start_child(self, way: str) -> str:
        try:
            await kb.start_link(Failing, way, "linked")
        except (kb.StartError, kb.Ignored) as error:
            return repr(error)
        return "started"

    @kb.message
    def received(self) -> list[kb.Exit]:
        return self.exits

    def on_exit(self, exit: kb.Exit) -> None:
        self.exits.append(exit)


@pytest.mark.parametrize("way", ["init", "async", "stop"])
async def test_a_failed_start_link_ends_a_parent_that_does_not_trap(way: str) -> None:
    parent = await kb.start(Parent, False)
    parent.cast(Parent.start_child, way)

    assert FAILURES[way] == await parent.wait_exit()


@pytest.mark.parametrize("way", FAILURES)
async def test_a_failed_start_link_gives_a_trapping_parent_the_error_and_no_exit(way: str) -> None:
    parent = await kb.start(Parent, True)

    assert "started" != await parent.call(Parent.start_child, way)
    assert [] == await parent.call(Parent.received)
    assert 0 == kb.info(parent).links


@pytest.mark.parametrize("way", ["ignore", "async ignore"])
async def test_an_ignored_start_link_leaves_its_parent_alone(way: str) -> None:
    parent = await kb.start(Parent, False)

    assert "Ignored" in await parent.call(Parent.start_child, way)
    assert parent.alive


# -- continue ------------------------------------------------------------------------------------------


class Continuing(Recorder):
    """Goes on after its start, in several steps."""

    def __init__(self, record: list[Any], steps: int, then: str = "") -> None:
        super().__init__(record)
        self.then = then
        self.continue_with(steps)

    async def on_start(self) -> None:
        self.me.cast(Recorder.put, "queued before the start was over")
        await asyncio.sleep(0)

    def on_continue(self, value: int) -> None:
        self.record.append(value)
        if value:
            self.continue_with(value - 1)
        elif self.then == "stop":
            self.stop(kb.Shutdown("done"))
        elif self.then == "crash":
            raise ValueError("torn")


async def test_on_continue_runs_before_any_queued_message_and_may_chain() -> None:
    record: list[Any] = []
    ref = await kb.start(Continuing, record, 2)
    await ref.call(Recorder.put, "first")

    assert [2, 1, 0, "queued before the start was over", "first"] == record


@pytest.mark.parametrize(
    ("then", "reason"), [("stop", kb.Shutdown("done")), ("crash", kb.Crashed(ValueError("torn")))]
)
async def test_on_continue_may_stop_before_any_queued_message(then: str, reason: kb.ExitReason) -> None:
    record: list[Any] = []
    ref = await kb.start(Continuing, record, 1, then)

    assert reason == await ref.wait_exit()
    assert [1, 0] == record


async def test_continue_with_in_a_message_comes_after_its_reply_and_before_other_mail() -> None:
    class Later(Recorder):
        @kb.message
        def go(self) -> str:
            self.continue_with("continued")
            return "reply"

        async def on_continue(self, value: str) -> None:
            await asyncio.sleep(0)
            self.record.append(value)

    record: list[Any] = []
    ref = await kb.start(Later, record)
    ref.cast(Later.go)
    ref.cast(Recorder.put, "mail")
    assert "reply" == await ref.call(Later.go)
    await ref.stop()

    assert ["continued", "mail", "continued"] == record


# -- stop ----------------------------------------------------------------------------------------------


class Stopping(Recorder):
    """Records its end; plain or async, and it may fail in it."""

    def __init__(self, record: list[Any], how: str = "plain", traps: bool = False) -> None:
        super().__init__(record)
        self.how = how
        self.trap_exits(traps)

    def on_stop(self, reason: kb.ExitReason) -> Any:
        self.record.append(("stop", reason))
        if self.how == "async":
            return self.stop_later()
        if self.how == "crash":
            raise LookupError("in on_stop")
        return self.crash_later() if self.how == "async crash" else None

    async def stop_later(self) -> None:
        await asyncio.sleep(0)
        self.record.append("stopped")

    async def crash_later(self) -> None:
        await asyncio.sleep(0)
        raise LookupError("in on_stop")

    @kb.message
    def end(self, reason: object) -> str:
        self.stop(reason)
        self.record.append("end of message")
        return "reply"

    @kb.message
    async def end_later(self, reason: object) -> str:
        self.stop(reason)
        await asyncio.sleep(0)
        self.record.append("end of message")
        return "reply"

    @kb.message
    async def hold(self, entered: asyncio.Event) -> None:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.record.append("unwound")


@pytest.mark.parametrize("traps", [False, True])
@pytest.mark.parametrize("how", ["plain", "async"])
@pytest.mark.parametrize("way", ["stop", "message", "async message", "crash", "exit", "parent"])
async def test_on_stop_runs_at_every_end_but_a_kill(way: str, how: str, traps: bool) -> None:
    record: list[Any] = []
    spec = kb.child(Stopping, record, how, traps).options(id="it", restart="temporary")
    async with kb.Supervisor(spec) as tree:
        ref = kb.info(tree.ref(Stopping, "it")).ref
        reason: kb.ExitReason = kb.Shutdown(way)
        if way == "stop":
            await ref.stop(reason)
        elif way == "message":
            await ref.call(Stopping.end, reason)
        elif way == "async message":
            await ref.call(Stopping.end_later, reason)
        elif way == "crash":
            ref.cast(Recorder.crash)
            reason = kb.Crashed(ValueError("torn"))
        elif way == "exit":
            # The default `on_exit` only reports, so a trapping actor lives on until its parent ends it.
            ref.exit(reason)
            if traps:
                reason = kb.Shutdown()
        else:
            reason = kb.Shutdown()
        if way != "parent" and not (way == "exit" and traps):
            assert reason == await ref.wait_exit()
    assert reason == await ref.wait_exit()

    messages = ["end of message"] if "message" in way else []
    assert [*messages, ("stop", reason), *(["stopped"] if how == "async" else [])] == record


@pytest.mark.parametrize("traps", [False, True])
async def test_a_kill_runs_no_on_stop_but_unwinds_the_handler_in_hand(traps: bool) -> None:
    record: list[Any] = []
    ref = await kb.start(Stopping, record, "plain", traps)
    entered = asyncio.Event()
    ref.cast(Stopping.hold, entered)
    await entered.wait()
    ref.kill()

    assert kb.Killed() == await ref.wait_exit()
    assert ["unwound"] == record


async def test_an_exit_signal_unwinds_the_handler_in_hand_before_on_stop() -> None:
    record: list[Any] = []
    ref = await kb.start(Stopping, record, "async")
    entered = asyncio.Event()
    ref.cast(Stopping.hold, entered)
    await entered.wait()
    ref.exit(kb.Shutdown())

    assert kb.Shutdown() == await ref.wait_exit()
    assert ["unwound", ("stop", kb.Shutdown()), "stopped"] == record


@pytest.mark.parametrize("message", [Stopping.end, Stopping.end_later])
@pytest.mark.parametrize("how", ["plain", "async"])
@pytest.mark.parametrize("shortcut", [True, False])
async def test_a_reply_with_stop_is_sent_after_on_stop_has_run(
    message: Any, how: str, shortcut: bool
) -> None:
    record: list[Any] = []
    ref = await kb.start(Stopping, record, how)
    if not shortcut:
        this_node().inline_left = 0

    async def ask() -> None:
        record.append(await ref.call(message, kb.Normal()))

    await ask()

    assert "reply" == record[-1]
    assert ("stop", kb.Normal()) in record[:-1]
    assert how == "plain" or "stopped" in record[:-1]


@pytest.mark.parametrize("how", ["crash", "async crash"])
async def test_a_crash_inside_on_stop_replaces_the_reason_and_is_reported(how: str) -> None:
    reports: list[CrashReport] = []

    def listen(event: Event) -> None:
        if isinstance(event, CrashReport):
            reports.append(event)

    this_node().instruments.add(listen)
    record: list[Any] = []
    ref = await kb.start(Stopping, record, how)
    with pytest.raises(kb.ActorExited) as caught:
        await ref.stop(kb.Shutdown("asked"))

    assert kb.Crashed(LookupError("in on_stop")) == caught.value.reason
    assert [("stop", kb.Shutdown("asked"))] == record
    (report,) = reports
    assert report.message.endswith("on_stop")


async def test_an_actor_may_be_killed_in_the_middle_of_its_on_stop() -> None:
    class Hanging(kb.Actor):
        entered = asyncio.Event()

        async def on_stop(self, reason: kb.ExitReason) -> None:
            self.entered.set()
            await asyncio.get_running_loop().create_future()

    ref = await kb.start(Hanging)
    ref.exit(kb.Shutdown())
    await Hanging.entered.wait()
    ref.exit(kb.Shutdown("again"))
    ref.kill()

    assert kb.Killed() == await ref.wait_exit()


async def test_mail_left_at_the_end_is_lost_and_a_dead_actor_holds_nothing() -> None:
    record: list[Any] = []
    ref = await kb.start(Stopping, record)
    ref.cast(Stopping.end, kb.Normal())
    ref.cast(Recorder.put, "lost")
    await ref.wait_exit()

    assert "lost" not in record
    assert ref._cell.actor is None
    assert ref not in [each.ref for each in kb.processes()]


# -- idle ----------------------------------------------------------------------------------------------


class Idle(Recorder):
    """Says when it has been idle."""

    def __init__(self, record: list[Any], seconds: float) -> None:
        super().__init__(record)
        self.set_idle_timeout(seconds)

    def on_idle(self) -> None:
        self.record.append(asyncio.get_running_loop().time() - 1000.0)

    @kb.message
    def never(self) -> None:
        self.set_idle_timeout(None)

    @kb.message
    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def test_on_idle_comes_after_that_time_without_a_message_and_again() -> None:
    async def main() -> None:
        record: list[Any] = []
        await kb.start(Idle, record, 2.0)
        await asyncio.sleep(5.0)

        assert [2.0, 4.0] == pytest.approx(record)

    run_virtual(main)


def test_any_message_puts_the_idle_timeout_off() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        for _ in range(3):
            await asyncio.sleep(1.5)
            ref.tell("anything")
        await asyncio.sleep(1.9)
        assert [] == record
        await asyncio.sleep(0.2)

        assert [6.5] == pytest.approx(record)

    run_virtual(main)


def test_time_spent_in_a_handler_is_not_idle_time() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        await ref.call(Idle.work, 4.0)
        await asyncio.sleep(1.0)
        assert [] == record
        await asyncio.sleep(1.5)

        assert [6.0] == pytest.approx(record)

    run_virtual(main)


def test_an_idle_timeout_can_be_turned_off() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        await ref.call(Idle.never)
        await asyncio.sleep(10.0)

        assert [] == record

    run_virtual(main)


def test_an_idle_timeout_of_zero_waits_until_the_mailbox_is_empty() -> None:
    async def main() -> None:
        class Eager(Recorder):
            def on_idle(self) -> None:
                self.record.append("idle")
                self.set_idle_timeout(None)

            @kb.message
            def begin(self) -> None:
                self.set_idle_timeout(0)
                for number in range(3):
                    self.me.cast(Recorder.put, number)

        record: list[Any] = []
        ref = await kb.start(Eager, record)
        await ref.call(Eager.begin)
        await asyncio.sleep(1.0)

        assert [0, 1, 2, "idle"] == record

    run_virtual(main)


def test_a_dead_actor_leaves_no_idle_timer() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        ref.kill()
        await ref.wait_exit()
        await asyncio.sleep(5.0)

        assert [] == record

    run_virtual(main)
