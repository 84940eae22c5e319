"""An actor's life: start, continue, idle, stop, in which order, and what each may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

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
