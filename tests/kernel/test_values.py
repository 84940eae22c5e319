"""Reasons, errors and runtime objects as values: compared, hashed, printed, pickled."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel import _end, _errors, _reasons, _start

CRASH = kb.Crashed(ValueError("torn"))

REASONS: list[kb.ExitReason] = [
    kb.Normal(),
    kb.Shutdown(),
    kb.Shutdown("deploy"),
    kb.Shutdown(kb.GaveUp("hits", CRASH)),
    kb.Shutdown(kb.FailedToStart("hits", CRASH)),
    kb.Kill(),
    kb.Killed(),
    kb.Killed("SIGKILL"),
    kb.Exited("value"),
    kb.Exited(("a", 1)),
    kb.NoProc(),
    kb.NoConnection("node-7"),
    CRASH,
    kb.Crashed(KeyError("k")),
    kb.Crashed(SystemExit(3)),
    kb.Crashed(kb.ActorExited("a", "m", CRASH, maybe_executed=True)),
]

ERRORS: list[BaseException] = [
    kb.KoboshiError("root"),
    kb.UsageError("usage"),
    kb.CallTimeout("counter", "Counter.add", 1.5, maybe_executed=True),
    kb.CallTimeout("counter", "Counter.add", 1.5, maybe_executed=False),
    kb.ActorExited("counter", "Counter.add", CRASH, maybe_executed=True),
    kb.ActorExited("counter", "Counter.add", kb.Normal(), maybe_executed=False),
    kb.NotRunning("counter", "Counter.add"),
    kb.MailboxFull("counter", "Counter.add", 10),
    kb.CallCycle(("a", "b", "a"), "Counter.add"),
    kb.CallError("text", target="counter", message="Counter.add", maybe_executed=True),
    kb.NotInProcess("outside"),
    kb.WrongThread("thread"),
    kb.HandlerTimeout("long"),
    kb.StartError("counter", CRASH),
    kb.StartTimeout("counter", kb.Killed("slow")),
    kb.ChildError("child"),
    kb.ChildNotFound("none"),
    kb.AlreadyPresent("present"),
    kb.ChildRunning("running"),
    kb.ChildRestarting("restarting"),
    kb.TooManyChildren("many"),
    kb.SupervisorGaveUp("gave up", kb.Shutdown(kb.GaveUp("hits", CRASH))),
    kb.Ignored("counter"),
    kb.Stop(kb.Shutdown("x")),
    kb.RemoteError("package.Error", "text", "Traceback ..."),
]


def fields(error: BaseException) -> dict[str, Any]:
    """What an error carries, with errors inside it in a form that compares."""
    return {
        name: repr(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
    }


# -- reasons -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS, ids=repr)
def test_a_reason_survives_a_pickle(reason: kb.ExitReason) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(reason, protocol))

        assert reason == again
        assert type(reason) is type(again)
        assert hash(reason) == hash(again)
        assert repr(reason) == repr(again)
        assert reason.clean == again.clean


def test_no_two_different_reasons_are_equal() -> None:
    for number, one in enumerate(REASONS):
        assert [number] == [index for index, other in enumerate(REASONS) if one == other]
        other_kind: object = "a value of another kind"
        assert one != other_kind


def test_crashes_are_equal_by_the_type_and_the_arguments_of_their_errors() -> None:
    assert kb.Crashed(ValueError("torn")) == CRASH
    assert kb.Crashed(ValueError("worn")) != CRASH
    assert kb.Crashed(TypeError("torn")) != CRASH


def test_clean_reasons_are_those_after_which_a_transient_child_is_left_alone() -> None:
    clean = [reason for reason in REASONS if reason.clean]

    assert [kb.Normal(), kb.Shutdown(), kb.Shutdown("deploy")] == [
        reason for reason in clean if reason != kb.Shutdown(kb.FailedToStart("hits", CRASH))
    ]
    assert not kb.Shutdown(kb.GaveUp("hits", CRASH)).clean


def test_a_reason_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        kb.Shutdown("x").detail = "y"  # type: ignore[misc]


class Unrebuildable(Exception):
    """Pickles well and cannot be loaded: the constructor wants two arguments and keeps one."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unpicklable(Exception):
    """Holds something that no pickle can carry."""

    def __init__(self) -> None:
        super().__init__(lambda: None)


@pytest.mark.parametrize("error", [Unrebuildable(3, "torn"), Unpicklable()], ids=lambda e: type(e).__name__)
def test_a_crash_whose_error_cannot_travel_arrives_as_its_description(error: Exception) -> None:
    try:
        raise error
    except Exception as raised:
        reason = pickle.loads(pickle.dumps(kb.Crashed(raised)))

    assert isinstance(reason.error, kb.RemoteError)
    assert reason.error.type_name.endswith(type(error).__name__)
    assert str(error) == reason.error.message
    assert "test_a_crash_whose_error_cannot_travel" in reason.error.trace
    assert str(reason.error).startswith(reason.error.type_name)


# -- errors --------------------------------------------------------------------------------------------


def test_every_error_of_the_kernel_is_looked_at_here() -> None:
    raised = {
        name
        for module in (_errors, _reasons, _start, _end)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }

    # The two that hold the ref of a living process have a test of their own.
    assert raised == {type(error).__name__ for error in ERRORS} | {"NameTaken", "AlreadyStarted"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_a_pickle(error: BaseException) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))

        assert type(error) is type(again)
        assert str(error) == str(again)
        assert error.args == again.args
        assert fields(error) == fields(again)
        assert repr(error.__cause__) == repr(again.__cause__)
    assert str(error) == str(copy.copy(error))


class Named(kb.Actor):
    """Takes a name that only one can have."""

    def __init__(self) -> None:
        kb.register("named")


async def test_errors_that_hold_a_ref_travel_without_it() -> None:
    async with kb.Supervisor(kb.child(Named)) as tree:
        caught: list[Exception] = []
        for attempt in (lambda: kb.start(Named), lambda: tree.start_child(kb.child(Named))):
            try:
                await attempt()
            except (kb.NameTaken, kb.AlreadyStarted, kb.StartError) as error:
                caught.append(error)
        taken, present = caught
        if isinstance(taken, kb.StartError):
            taken = taken.__cause__  # type: ignore[assignment]
        assert isinstance(taken, kb.NameTaken)
        assert isinstance(present, kb.AlreadyStarted)
        assert taken.owner == kb.whereis("named") == present.child

        for held in (taken, present):
            again = pickle.loads(pickle.dumps(held))
            assert type(held) is type(again)
            assert str(held) == str(again)
        assert pickle.loads(pickle.dumps(taken)).owner is None
        assert pickle.loads(pickle.dumps(present)).child is None
        assert "named" == pickle.loads(pickle.dumps(taken)).name


def test_errors_are_what_python_calls_such_errors() -> None:
    assert issubclass(kb.CallTimeout, TimeoutError)
    assert issubclass(kb.StartTimeout, TimeoutError)
    assert issubclass(kb.UsageError, TypeError)
    assert issubclass(kb.ChildNotFound, LookupError)
    assert not issubclass(kb.Stop, Exception)
    for error in ERRORS:
        assert isinstance(error, kb.KoboshiError | kb.Stop | kb.RemoteError)


def test_call_errors_carry_target_message_and_whether_it_may_have_been_executed() -> None:
    for error in ERRORS:
        if isinstance(error, kb.CallError) and not isinstance(error, kb.CallCycle):
            assert "counter" == error.target
            assert "Counter.add" == error.message
            assert isinstance(error.maybe_executed, bool)
            if type(error) is not kb.CallError:
                assert "counter" in str(error)
                assert "Counter.add" in str(error)


# -- runtime objects -----------------------------------------------------------------------------------


class Shown(kb.Actor):
    """Something to look at."""

    def __init__(self) -> None:
        self.open: kb.ReplyTo[Any] | None = None

    @kb.message
    def ask(self) -> None:
        self.open = kb.defer()

    @kb.message
    def nothing(self) -> None: ...


async def test_a_ref_prints_where_it_leads_and_how_that_is() -> None:
    ref = await kb.start(Shown)
    number = kb.info(ref).label.partition("#")[2]

    assert f"<ActorRef Shown#{number} idle>" == repr(ref)
    assert f"<ThreadsafeRef Shown#{number} idle>" == repr(ref.threadsafe)
    ref.cast(Shown.nothing)
    assert f"<ActorRef Shown#{number} queued>" == repr(ref)
    await ref.stop()
    assert f"<ActorRef Shown#{number} dead>" == repr(ref)
    assert "<ActorRef name 'shown' dead>" == repr(kb.named(Shown, "shown"))


async def test_a_child_prints_as_its_path() -> None:
    inner = kb.Supervisor(kb.child(Shown).options(id="leaf"))
    async with kb.Supervisor(inner) as tree:
        (branch,) = await tree.which_children()
        assert branch.ref is not None
        assert "<ActorRef supervisor/Supervisor idle>" == repr(branch.ref)
        (leaf,) = [each for each in kb.processes() if each.label.endswith("leaf")]
        assert "<ActorRef supervisor/Supervisor/leaf idle>" == repr(leaf.ref)
        assert ("supervisor/Supervisor", "supervisor") == leaf.ancestors


async def test_every_runtime_object_prints_in_one_short_line() -> None:
    async def process() -> None:
        ref = await kb.start(Shown)
        call = asyncio.ensure_future(ref.call(Shown.ask))
        await ref.call(Shown.nothing)
        await asyncio.sleep(0)
        reply = ref._cell.actor.open
        monitor = kb.monitor(ref)
        alias = kb.alias()
        timer = ref.send_after(100.0, Shown.nothing)
        shown = [ref, ref.threadsafe, ref._cell, reply, monitor, alias, timer, kb.info(ref), kb.IGNORE]
        shown += [asyncio.current_task(), kb.child(Shown), kb.Backoff(1.0, 2.0), kb.Budget(3, 5.0)]
        texts = [repr(each) for each in shown]
        for text in texts:
            assert "\n" not in text
            assert " at 0x" not in text
        assert "<ReplyTo wanted>" in texts
        reply.send(None)
        await call
        assert "<ReplyTo over>" == repr(reply)
        assert repr(monitor).startswith("<Monitor of <ActorRef Shown#")
        assert monitor.cancel()
        assert repr(monitor).endswith("(over)>")
        alias.cancel()
        assert "<Alias of nobody>" == repr(alias)
        timer.cancel()
        assert repr(timer).startswith("<Timer over to <ActorRef Shown#")
        assert "koboshi.IGNORE" == repr(kb.IGNORE)

    ref = kb.spawn(process)
    assert kb.Normal() == await ref.wait_exit()


async def test_refs_are_equal_when_they_mean_the_same() -> None:
    one, two = await kb.start(Shown), await kb.start(Shown)
    kb.register("one", one)

    assert one == kb.whereis("one") == one.within(1.0)
    assert hash(one) == hash(one.within(1.0))
    assert one != two
    assert kb.named(Shown, "one") == kb.named(Shown, "one")
    assert kb.named(Shown, "one") != one
    assert 2 == len({one, two, one.within(3.0)})
    assert one != "one"


async def test_a_supervisor_prints_its_children() -> None:
    tree = kb.Supervisor(kb.child(Shown))
    assert "\n" not in repr(tree)
    assert " at 0x" not in repr(tree)
    async with tree:
        assert "1" in repr(tree)
        assert " at 0x" not in repr(tree)
