"""Applications from start to end: callbacks in order, whose end is the program's, what is done by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest

import koboshi as kb
from koboshi import otp

pytestmark = pytest.mark.anyio

Log = list[str]
Importance = Literal["permanent", "transient", "temporary"]


class Part(kb.Actor):
    """The only child of each tree; registered as `(application, "part")`."""

    def __init__(self, log: Log, name: str) -> None:
        self.log, self.name = log, name

    def on_start(self) -> None:
        self.log.append(f"{self.name} up")

    def on_stop(self, reason: kb.ExitReason) -> None:
        self.log.append(f"{self.name} down")

    @kb.message
    def crash(self) -> None:
        raise ValueError(f"{self.name} is broken")

    @kb.message
    def end(self, reason: kb.ExitReason) -> None:
        self.stop(reason)


def nothing(what: str) -> object:
    return None


class Base(otp.Application):
    """Logs its callbacks; `hook` is asked in each of them and may raise or give something to wait for."""

    def __init__(self, log: Log, hook: Callable[[str], Any] = nothing) -> None:
        self.log, self.hook = log, hook

    async def _said(self, what: str) -> None:
        self.log.append(f"{self.name} {what}")
        waited_for = self.hook(what)
        if waited_for is not None:
            await waited_for

    async def start(self) -> kb.Supervisor | kb.ChildSpec[Part]:
        await self._said("start")
        return kb.child(Part, self.log, self.name).options(name=(self.name, "part"))

    async def start_phase(self, phase: str) -> None:
        await self._said(f"phase {phase}")

    async def prep_stop(self) -> None:
        await self._said("prep_stop")

    async def stop(self) -> None:
        await self._said("stop")


class Store(Base):
    """The first one."""


class Web(Base):
    """Comes behind the store."""

    needs = ("store",)
    phases = ("warm", "open")


class Mail(Base):
    """Comes last."""

    needs = ("web",)


STARTED = ["store start", "store up", "web start", "web up", "web phase warm", "web phase open"]
STOPPED = [
    *("web prep_stop", "web down", "web stop"),
    *("store prep_stop", "store down", "store stop"),
]


def part(name: str) -> kb.ActorRef[Part]:
    """The child of an application, as it is now."""
    found = kb.whereis((name, "part"))
    assert found is not None
    return found


def store_as(restart: Importance, log: Log) -> otp.Application:
    """A store of some importance; its first end is its tree's."""
    kind: type[Base] = type("Store", (Base,), {"restart": restart})
    return kind(log)


async def program(*applications: otp.Application) -> None:
    """Run them until the program ends by itself."""
    async with otp.Applications(*applications):
        await asyncio.Event().wait()


async def test_starts_follow_needs_and_stops_are_their_mirror_image() -> None:
    log: Log = []
    async with otp.Applications(Web(log), Store(log)):
        assert STARTED == log
        log.clear()

    assert STOPPED == log


class Unstartable(kb.Actor):
    """Fails its start."""

    def on_start(self) -> None:
        raise OSError("no disk")


@pytest.mark.parametrize(
    ("failing", "seen"),
    [
        ("start", ["web start"]),
        ("phase warm", ["web start", "web up", "web phase warm", "web down", "web stop"]),
    ],
)
async def test_a_failed_start_stops_those_before_it_in_reverse(failing: str, seen: list[str]) -> None:
    log: Log = []

    def fail(what: str) -> None:
        if what == failing:
            raise OSError("no disk")

    with pytest.raises(kb.StartError, match="no disk") as caught:
        await program(Mail(log), Web(log, fail), Store(log))

    assert isinstance(caught.value.__cause__, OSError)
    assert ["store start", "store up", *seen, "store prep_stop", "store down", "store stop"] == log


async def test_stop_is_called_when_start_gave_a_tree_that_does_not_start() -> None:
    log: Log = []

    class Web(Base):
        async def start(self) -> kb.Supervisor:
            await self._said("start")
            return kb.Supervisor(kb.child(Unstartable))

    with pytest.raises(kb.StartError, match="no disk"):
        await program(Web(log))

    assert ["web start", "web stop"] == log


async def test_a_tree_that_has_nothing_to_start_is_a_failed_start() -> None:
    class Idle(kb.Actor):
        def on_start(self) -> object:
            return kb.IGNORE

    class Lazy(otp.Application):
        def start(self) -> kb.ChildSpec[Idle]:
            return kb.child(Idle)

    with pytest.raises(kb.StartError, match="IGNORE"):
        await program(Lazy())


async def test_a_start_that_gives_no_tree_is_told_what_to_give() -> None:
    class Lazy(otp.Application):
        def start(self) -> Any:
            return Part

    with pytest.raises(kb.StartError, match=r"start\(\) of .*Lazy gives a kb.Supervisor") as caught:
        await program(Lazy())

    assert isinstance(caught.value.__cause__, kb.UsageError)


@pytest.mark.parametrize("waits_in", ["start", "phase warm"])
async def test_a_cancelled_start_stops_what_was_started(waits_in: str) -> None:
    log: Log = []
    begun = asyncio.Event()

    def hook(what: str) -> Any:
        if what != waits_in:
            return None
        begun.set()
        return asyncio.Event().wait()

    running = asyncio.ensure_future(program(Web(log, hook), Store(log)))
    await begun.wait()
    del log[:]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    undone = [] if waits_in == "start" else ["web down", "web stop"]
    assert [*undone, "store prep_stop", "store down", "store stop"] == log


# -- whose end is the program's (OTP: permanent, transient, temporary) -----------------------------------


@pytest.mark.parametrize("restart", ["permanent", "transient"])
async def test_the_unclean_end_of_an_application_that_matters_ends_the_program_with_its_reason(
    restart: Importance,
) -> None:
    log: Log = []
    with pytest.raises(otp.ApplicationFailed, match=f"the {restart} application 'store'") as caught:
        async with otp.Applications(Web(log), store_as(restart, log)):
            log.clear()
            part("store").cast(Part.crash)
            await asyncio.Event().wait()

    assert kb.Crashed(ValueError("store is broken")) == caught.value.reason
    assert "store" == caught.value.application
    assert isinstance(caught.value.__cause__, ValueError)
    # Without prep_stop of the store, whose tree had ended by itself.
    assert ["store down", "store stop", "web prep_stop", "web down", "web stop"] == log


async def test_any_end_of_a_permanent_application_ends_the_program() -> None:
    log: Log = []
    async with otp.Applications(Store(log), Web(log)) as apps:
        log.clear()
        part("store").cast(Part.end, kb.Normal())
        await asyncio.Event().wait()
        log.append("the body went on")

    assert ["store down", "store stop", "web prep_stop", "web down", "web stop"] == log
    with pytest.raises(kb.NotRunning):
        await apps.which_applications()


@pytest.mark.parametrize(
    ("restart", "reason"),
    [
        ("transient", kb.Normal()),
        ("transient", kb.Shutdown()),
        ("temporary", kb.Normal()),
        ("temporary", kb.Exited("out of paper")),
    ],
)
async def test_the_program_outlives_a_transient_clean_end_and_any_temporary_one_and_reports_it(
    restart: Importance, reason: kb.ExitReason
) -> None:
    log: Log = []
    reports: list[otp.ApplicationEnded] = []
    reported = asyncio.Event()

    def note(event: kb.events.Event) -> None:
        if isinstance(event, otp.ApplicationEnded):
            reports.append(event)
            reported.set()

    stop_listening = kb.listen(note)
    async with otp.Applications(store_as(restart, log), Web(log)) as apps:
        log.clear()
        pid = part("store")
        pid.cast(Part.end, reason)
        await pid.wait_exit()
        await reported.wait()
        assert ["store down", "store stop"] == log
        info = (await apps.which_applications())[-1]
    stop_listening()

    assert ("store", "ended", reason, None) == (info.name, info.status, info.last_exit, info.tree)
    assert [("store", restart, reason)] == [(each.application, each.restart, each.reason) for each in reports]


async def test_a_killed_tree_is_an_unclean_end() -> None:
    log: Log = []
    with pytest.raises(otp.ApplicationFailed) as caught:
        async with otp.Applications(store_as("transient", log)):
            part("store").kill()
            await asyncio.Event().wait()

    assert kb.Killed() == caught.value.reason
    assert "store stop" == log[-1]


# -- callbacks that fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["prep_stop", "stop"])
async def test_a_callback_that_fails_at_the_stop_is_reported_and_keeps_nothing_running(failing: str) -> None:
    log: Log = []
    crashes: list[str] = []

    def fail(what: str) -> None:
        if what == failing:
            raise OSError("no disk")

    def note(event: kb.events.Event) -> None:
        if isinstance(event, kb.events.CrashReport):
            crashes.append(repr(event.error))

    stop_listening = kb.listen(note)
    async with otp.Applications(Web(log, fail), Store(log)):
        log.clear()
    stop_listening()

    assert STOPPED == log
    assert ["OSError('no disk')"] == crashes


async def test_both_callbacks_that_fail_at_the_stop_are_in_the_report() -> None:
    crashes: list[BaseException] = []

    def fail(what: str) -> None:
        if "stop" in what:
            raise OSError(what)

    def note(event: kb.events.Event) -> None:
        if isinstance(event, kb.events.CrashReport):
            crashes.append(event.error)

    stop_listening = kb.listen(note)
    async with otp.Applications(Store([], fail)):
        pass
    stop_listening()

    (group,) = crashes
    assert isinstance(group, ExceptionGroup)
    assert ["prep_stop", "stop"] == [str(each) for each in group.exceptions]


# -- by hand ---------------------------------------------------------------------------------------------


async def test_a_permanent_application_that_is_stopped_on_purpose_leaves_the_program_running() -> None:
    log: Log = []
    async with otp.Applications(Web(log), Store(log)) as apps:
        log.clear()
        await apps.stop_application("web")
        assert ["web prep_stop", "web down", "web stop"] == log
        await apps.stop_application("web")
        down = (await apps.which_applications())[-1]
        log.clear()
        await apps.start_application("web")
        await apps.start_application("web")
        assert ["web start", "web up", "web phase warm", "web phase open"] == log

    assert ("web", "stopped", kb.Shutdown()) == (down.name, down.status, down.last_exit)


async def test_an_application_in_use_is_not_stopped_and_nobody_crashes() -> None:
    log: Log = []
    async with otp.Applications(Web(log), Store(log)) as apps:
        log.clear()
        with pytest.raises(otp.ApplicationInUse, match="'web'"):
            await apps.stop_application("store")
        assert [] == log


async def test_an_application_is_not_started_before_what_it_needs() -> None:
    log: Log = []
    async with otp.Applications(Web(log), Store(log)) as apps:
        await apps.stop_application("web")
        await apps.stop_application("store")
        log.clear()
        with pytest.raises(otp.ApplicationNotStarted, match="'store'"):
            await apps.start_application("web")
        assert [] == log
        await apps.start_application("store")
        await apps.start_application("web")
        assert STARTED == log


async def test_a_failed_start_by_hand_is_the_callers_error() -> None:
    log: Log = []
    works = True

    def fail(what: str) -> None:
        if not works and what == "start":
            raise OSError("no disk")

    async with otp.Applications(Web(log, fail), Store(log)) as apps:
        await apps.stop_application("web")
        works = False
        with pytest.raises(kb.StartError, match="no disk"):
            await apps.start_application("web")
        states = {each.name: each.status for each in await apps.which_applications()}
        works = True
        await apps.start_application("web")

    assert {"store": "running", "web": "stopped"} == states


@pytest.mark.parametrize("request_", ["start_application", "stop_application"])
async def test_a_name_that_is_not_there_is_refused_with_those_that_are(request_: str) -> None:
    async with otp.Applications(Store([])) as apps:
        with pytest.raises(kb.ChildNotFound, match="no application 'stoer'; there are: 'store'"):
            await getattr(apps, request_)("stoer")
        wrong: Any = ["store"]
        with pytest.raises(kb.ChildNotFound, match="no application"):
            await getattr(apps, request_)(wrong)


async def test_a_program_takes_no_other_children() -> None:
    async with otp.Applications(Store([])) as apps:
        with pytest.raises(kb.UsageError, match="start_application"):
            await apps.start_child(kb.child(Part, [], "x"))


async def test_statistics_have_the_applications_newest_first() -> None:
    async with otp.Applications(Web([]), Store([])) as apps:
        figures = await apps.statistics()

    assert (2, 2) == (figures.children, figures.running)
    assert [("web", ("store",), "running"), ("store", (), "running")] == [
        (each.name, each.needs, each.status) for each in figures.applications
    ]


async def test_a_program_may_be_a_child_of_a_tree() -> None:
    log: Log = []
    spec = kb.child(otp.Applications, Web(log), Store(log)).options(id="program")
    async with kb.Supervisor(spec) as tree:
        infos = await tree.ref(otp.Applications, "program").call(otp.Applications.which_applications)

    assert ["web", "store"] == [each.name for each in infos]
    assert [*STARTED, *STOPPED] == log


async def test_reprs_are_one_line() -> None:
    assert "<Store application 'store', permanent>" == repr(Store([]))
    async with otp.Applications(Store([])) as apps:
        assert "<Applications applications, 1 of 1 children running>" == repr(apps)


@pytest.mark.slow
async def test_a_process_on_a_node_may_ask_which_applications_run() -> None:
    class Cluster(Base):
        async def start(self) -> kb.Supervisor:
            asker = kb.child(Asker).options(on="n1", name="asker")
            return kb.Supervisor(kb.node("n1"), asker, strategy="rest_for_one")

    spec = kb.child(otp.Applications, Cluster([])).options(id="program", name="program")
    async with kb.Supervisor(spec):
        program = kb.named(otp.Applications, "program")
        answer = await kb.named(Asker, "asker").call(Asker.ask, program)

    assert [("cluster", "running")] == answer


class Asker(kb.Actor):
    """Asks from elsewhere."""

    @kb.message
    async def ask(self, program: kb.ActorRef[otp.Applications]) -> list[tuple[str, str]]:
        infos = await program.call(otp.Applications.which_applications)
        assert infos[0].tree is not None
        assert infos[0].tree.alive
        return [(each.name, each.status) for each in infos]
