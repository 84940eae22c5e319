"""Exit signals: what `exit` does to others and to oneself, what can be trapped, and the parent's."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

import koboshi as kb
from koboshi.testing import wait_idle


class Trapper(kb.Actor):
    """Traps exits and keeps what it gets."""

    def __init__(self, trapping: bool = True) -> None:
        if trapping:
            self.trap_exits()
        self.seen: list[Any] = []
        self.stopped: list[kb.ExitReason] = []

    def on_exit(self, exit: kb.Exit) -> None:
        self.seen.append(exit)

    @kb.message
    def history(self) -> list[Any]:
        return list(self.seen)

    @kb.message
    def exit_self(self, reason: object) -> str:
        self.me.exit(reason)
        return "the handler goes on to its end"

    @kb.message
    def link_to(self, other: kb.ActorRef[Any]) -> None:
        kb.link(other)


class Parent(kb.Actor):
    """Starts a child and ends as it is told."""

    def __init__(self) -> None:
        self.child: kb.ActorRef[Trapper] | None = None

    @kb.message
    async def bear(self, trapping: bool) -> kb.ActorRef[Trapper]:
        self.child = await kb.start_link(Trapper, trapping)
        return self.child

    @kb.message
    def signal(self, reason: object) -> None:
        assert self.child is not None
        self.child.exit(reason)

    @kb.message
    def end(self, reason: object) -> None:
        self.stop(reason)


REASONS = [kb.Shutdown(), kb.Exited("x"), kb.Killed(), kb.Crashed(ValueError(1)), kb.NoProc()]


async def test_normal_from_another_process_is_ignored_when_not_trapping() -> None:
    ref = await kb.start(Trapper, False)
    ref.exit(kb.Normal())

    assert await ref.call(Trapper.history) == []
    await ref.stop()


async def test_normal_from_another_process_is_only_a_message_when_trapping() -> None:
    ref = await kb.start(Trapper)
    ref.exit(kb.Normal())

    assert [exit.reason for exit in await ref.call(Trapper.history)] == [kb.Normal()]
    await ref.stop()


@pytest.mark.parametrize("reason", REASONS, ids=repr)
async def test_any_other_reason_ends_a_process_that_does_not_trap(reason: kb.ExitReason) -> None:
    ref = await kb.start(Trapper, False)
    ref.exit(reason)

    assert await ref.wait_exit(2) == reason


@pytest.mark.parametrize("reason", REASONS, ids=repr)
async def test_any_other_reason_is_a_message_to_a_process_that_traps(reason: kb.ExitReason) -> None:
    ref = await kb.start(Trapper)
    ref.exit(reason)

    assert [exit.reason for exit in await ref.call(Trapper.history)] == [reason]
    await ref.stop()


@pytest.mark.parametrize("trapping", [True, False])
async def test_kill_cannot_be_trapped_and_its_victim_is_killed(trapping: bool) -> None:
    ref = await kb.start(Trapper, trapping)
    ref.exit(kb.Kill())

    assert await ref.wait_exit(2) == kb.Killed()


async def test_a_value_that_is_no_reason_is_sent_as_exited_and_an_error_as_crashed() -> None:
    error = ValueError("x")
    one, two = await kb.start(Trapper, False), await kb.start(Trapper, False)
    one.exit({"code": 3})
    two.exit(error)

    assert await one.wait_exit(2) == kb.Exited({"code": 3})
    assert await two.wait_exit(2) == kb.Crashed(error)


async def test_exit_normal_to_oneself_ends_a_process_that_does_not_trap() -> None:
    ref = await kb.start(Trapper, False)
    ref.cast(Trapper.exit_self, kb.Normal())

    assert await ref.wait_exit(2) == kb.Normal()


async def test_exit_normal_to_oneself_is_a_message_when_trapping() -> None:
    ref = await kb.start(Trapper)
    await ref.call(Trapper.exit_self, kb.Normal())

    assert [kb.Exit(ref, kb.Normal())] == await ref.call(Trapper.history)
    await ref.stop()


async def test_an_exit_to_oneself_in_a_bare_process_takes_effect_at_its_next_wait() -> None:
    steps: list[str] = []

    async def body() -> None:
        try:
            kb.me().exit(kb.Normal())
            steps.append("still here")
            await kb.receive()
            steps.append("never")
        finally:
            steps.append("unwound")

    assert await kb.spawn(body).wait_exit(2) == kb.Normal()
    assert steps == ["still here", "unwound"]


async def test_kill_to_oneself_is_not_trapped() -> None:
    ref = await kb.start(Trapper)
    ref.cast(Trapper.exit_self, kb.Kill())

    assert await ref.wait_exit(2) == kb.Killed()


async def test_signals_to_a_dead_process_are_lost_silently() -> None:
    ref = await kb.start(Trapper)
    ref.kill()
    await ref.wait_exit(2)
    for reason in (kb.Normal(), kb.Kill(), kb.Exited("x")):
        ref.exit(reason)
    ref.tell("anything")
    ref.cast(Trapper.exit_self, "x")

    assert await ref.wait_exit(2) == kb.Killed()


async def test_the_first_reason_stands_but_for_a_kill() -> None:
    first, second = await kb.start(Trapper, False), await kb.start(Trapper, False)
    first.exit("one")
    first.exit("two")
    second.exit("one")
    second.kill()

    assert await first.wait_exit(2) == kb.Exited("one")
    assert await second.wait_exit(2) == kb.Killed()


@pytest.mark.parametrize("reason", [kb.Normal(), kb.Shutdown(), kb.Exited("x")], ids=repr)
async def test_a_trapping_actor_ends_with_its_parent_and_for_its_reason(reason: kb.ExitReason) -> None:
    parent = await kb.start(Parent)
    child = await parent.call(Parent.bear, True)
    parent.cast(Parent.end, reason)

    assert await parent.wait_exit(2) == reason
    assert await child.wait_exit(2) == reason


@pytest.mark.parametrize("reason", [kb.Normal(), kb.Shutdown()], ids=repr)
async def test_a_signal_of_the_parent_ends_a_trapping_child_without_asking_it(reason: kb.ExitReason) -> None:
    parent = await kb.start(Parent)
    child = await parent.call(Parent.bear, True)
    await parent.call(Parent.signal, reason)

    assert await child.wait_exit(2) == reason
    parent.kill()
    await parent.wait_exit(2)


async def test_a_child_that_does_not_trap_goes_on_when_its_parent_ends_normally() -> None:
    parent = await kb.start(Parent)
    child = await parent.call(Parent.bear, False)
    parent.cast(Parent.end, kb.Normal())
    await parent.wait_exit(2)

    assert await child.call(Trapper.history) == []
    await child.stop()


async def test_a_stranger_does_not_pass_for_the_parent() -> None:
    parent = await kb.start(Parent)
    child = await parent.call(Parent.bear, True)
    stranger = await kb.start(Trapper, False)
    await child.call(Trapper.link_to, stranger)
    stranger.exit("x")
    await stranger.wait_exit(2)

    assert await child.call(Trapper.history) == [kb.Exit(stranger, kb.Exited("x"))]
    parent.kill()
    assert await child.wait_exit(2) == kb.Killed()


async def test_a_trapping_bare_process_gets_its_parents_end_as_an_exit_message() -> None:
    seen: list[Any] = []
    ready = asyncio.Event()

    async def child() -> None:
        kb.trap_exits()
        ready.set()
        seen.append(await kb.receive())

    async def parent() -> None:
        children.append(kb.spawn_link(child))
        await ready.wait()
        raise kb.Stop("the parent's end")

    children: list[kb.ActorRef[Any]] = []
    ref = kb.spawn(parent)
    await ref.wait_exit(2)

    assert await children[0].wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(ref, kb.Exited("the parent's end"))]


async def test_stop_ends_a_bare_process_at_once_with_the_reason_asked() -> None:
    cleaned: list[str] = []

    began = asyncio.Event()

    async def body() -> None:
        try:
            began.set()
            await kb.receive(str)
        finally:
            cleaned.append("yes")

    ref = kb.spawn(body)
    ref.tell(1)
    await began.wait()
    await ref.stop(kb.Shutdown())

    assert await ref.wait_exit(2) == kb.Shutdown()
    assert cleaned == ["yes"]


async def test_an_exit_signal_ends_an_actor_that_has_asked_to_stop_and_still_waits() -> None:
    class Slow(kb.Actor):
        @kb.message
        async def finish(self) -> None:
            self.stop()
            await asyncio.Event().wait()

    ref = await kb.start(Slow)
    ref.cast(Slow.finish)
    await wait_idle()
    assert "waiting" == kb.info(ref).state
    ref.exit(kb.Shutdown())

    assert await ref.wait_exit(2) == kb.Shutdown()


async def test_uncaught_errors_are_crashes_and_stop_carries_a_reason_of_ones_own() -> None:
    async def crashes() -> None:
        raise LookupError("x")

    async def stops() -> None:
        raise kb.Stop({"code": 1})

    async def returns() -> None:
        return None

    crashed = await kb.spawn(crashes).wait_exit(2)
    assert isinstance(crashed, kb.Crashed)
    assert crashed.error.__traceback__ is not None
    assert crashed == kb.Crashed(LookupError("x"))
    assert await kb.spawn(stops).wait_exit(2) == kb.Exited({"code": 1})
    assert await kb.spawn(returns).wait_exit(2) == kb.Normal()


async def test_a_group_of_exceptions_is_a_crash_with_all_of_them() -> None:
    async def one(error: Exception) -> None:
        raise error

    async def crashes() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one(KeyError("a")))
            group.create_task(one(ValueError("b")))

    reason = await kb.spawn(crashes).wait_exit(2)

    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, ExceptionGroup)
    assert [KeyError, ValueError] == [type(error) for error in reason.error.exceptions]
    copy = pickle.loads(pickle.dumps(reason))
    assert [("a",), ("b",)] == [error.args for error in copy.error.exceptions]


async def test_mail_that_was_not_handled_is_lost_with_the_process() -> None:
    class Fragile(kb.Actor):
        def __init__(self) -> None:
            self.seen: list[int] = []

        @kb.message
        def note(self, n: int) -> list[int]:
            if n == 1:
                raise ValueError("one too many")
            self.seen.append(n)
            return self.seen

    async with kb.Supervisor(kb.child(Fragile).options(id="it")) as tree:
        ref = tree.ref(Fragile, "it")
        for number in range(10):
            ref.cast(Fragile.note, number)
        await wait_idle()

        assert await ref.call(Fragile.note, 99) == [99]


@pytest.mark.parametrize(
    "reason",
    [
        kb.Normal(),
        kb.Shutdown("a"),
        kb.Kill(),
        kb.Killed(9),
        kb.Exited([1]),
        kb.NoProc(),
        kb.NoConnection("n"),
        kb.Crashed(KeyError("k")),
    ],
    ids=repr,
)
def test_a_reason_survives_a_pickle_and_prints_what_it_is(reason: kb.ExitReason) -> None:
    assert pickle.loads(pickle.dumps(reason)) == reason
    assert repr(reason).startswith(type(reason).__name__ + "(")
    assert reason.clean == isinstance(reason, kb.Normal | kb.Shutdown)


class SelfEnding(kb.Actor):
    """Sends itself an exit signal in a call, and would return something."""

    @kb.message
    def plain(self, reason: kb.ExitReason) -> str:
        self.me.exit(reason)
        return "too late"

    @kb.message
    async def waiting(self, reason: kb.ExitReason) -> str:
        self.me.exit(reason)
        return "too late"


@pytest.mark.parametrize("message", [SelfEnding.plain, SelfEnding.waiting])
@pytest.mark.parametrize("reason", [kb.Kill(), kb.Shutdown(), kb.Normal()])
@pytest.mark.parametrize("busy", [False, True])
async def test_one_that_a_signal_has_ended_in_its_handler_does_not_answer_the_call(
    message: Any, reason: kb.ExitReason, busy: bool
) -> None:
    ref = await kb.start(SelfEnding)
    if busy:
        ref.tell("first")  # so that the call waits in the mailbox and is no shortcut
    with pytest.raises(kb.ActorExited) as ended:
        await ref.call(message, reason)

    assert (kb.Killed() if reason == kb.Kill() else reason) == ended.value.reason
    assert ended.value.maybe_executed
