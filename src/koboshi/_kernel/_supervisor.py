"""`Supervisor`: starts children in order, restarts them by rule, stops them in reverse.

A supervisor is an actor that traps exits. What it decides comes from `_restart`; this file carries
it out. Two things keep it right: a child that it stops on purpose is first taken out of `_by_cell`,
so that the exit message that follows finds nobody; and a failed restart is retried by a message to
itself, so that it answers requests between two attempts, each of which spends from the budget.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from ._actor import Actor
from ._cell import DEAD, Cell
from ._errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    KoboshiError,
    NameTaken,
    StartError,
    UsageError,
)
from ._events import GivenUp, Parked, Restarted, RestartFailed
from ._lifecycle import Ignored, Stop, gone, started
from ._message import message
from ._place import Place
from ._reasons import KILLED, NORMAL, SHUTDOWN, Exit, ExitReason, FailedToStart, GaveUp, Shutdown
from ._ref import ActorRef
from ._reply import ReplyTo, defer
from ._restart import (
    AUTO_SHUTDOWNS,
    STRATEGIES,
    AutoShutdown,
    Backoff,
    Budget,
    Strategy,
    affected,
    auto_shuts_down,
    should_restart,
)
from ._root import RootContext, request
from ._self import nobody
from ._spec import ChildSpec, one_of

AA = TypeVar("AA", bound=Actor)


@dataclass(slots=True, eq=False)
class Child:
    """One child as its supervisor sees it.

    `status` is one of: running, restarting, backing_off, parked, stopped. `cell` is set exactly
    while it is running. `attempt` counts starts, so that a retry that is out of date is known.
    """

    id: Any
    spec: ChildSpec[Any]
    place: Place
    cell: Cell | None = None
    status: str = "stopped"
    restarts: int = 0
    failures: int = 0
    attempt: int = 0
    up_since: float = 0.0
    history: tuple[float, ...] = ()
    last: ExitReason = NORMAL


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child in the answer of `which_children`. `ref` is a pid ref, None while it is not running."""

    id: Any
    ref: ActorRef[Any] | None
    status: str
    kind: str
    restarts: int
    last_exit: ExitReason | None


@dataclass(frozen=True, slots=True)
class Counts:
    """The answer of `count_children`: all specs; children alive now; specs by kind."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True)
class SupervisorStatistics:
    """What a supervisor has done since it started, and its children now."""

    children: int
    running: int
    restarting: int
    parked: int
    restarts: int
    strategy: str


class Supervisor(RootContext, Actor):
    """Looks after children: `async with kb.Supervisor(kb.child(Counter), ...) as tree`.

    Args:
        children: specs, in start order.
        strategy: who is restarted with a failed child: "one_for_one" (itself, the default),
            "one_for_all", "rest_for_one" (itself and those started after it).
        max_restarts, within: the budget, 3 in 5 seconds by default; one restart more and the
            supervisor stops its children and fails with `Shutdown(GaveUp(child, reason))`.
        auto_shutdown: "never" (default), "any_significant", "all_significant".
        backoff: for children that have none of their own.

    Raises:
        UsageError: an option has no such value, a child is no spec, an id is there twice.
    """

    _is_supervisor = True

    @classmethod
    def _around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        """A request that cannot be met is the caller's error and no crash of the supervisor."""

        @functools.wraps(run)
        async def answering(self: Supervisor, *args: Any, **kwargs: Any) -> Any:
            try:
                result = run(self, *args, **kwargs)
                return await result if isinstance(result, Coroutine) else result
            except KoboshiError as refused:
                defer().fail(refused)

        return answering

    def __init__(
        self,
        *children: ChildSpec[Any] | Supervisor,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | tuple[float, ...] | None = None,
    ) -> None:
        one_of("strategy", strategy, STRATEGIES)
        one_of("auto_shutdown", auto_shutdown, AUTO_SHUTDOWNS)
        self._made_with = children, {
            "strategy": strategy,
            "max_restarts": max_restarts,
            "within": within,
            "auto_shutdown": auto_shutdown,
            "backoff": backoff,
        }
        self._strategy: Strategy = strategy
        self._budget = Budget(max_restarts, within)
        self._auto_shutdown: AutoShutdown = auto_shutdown
        self._backoff = Backoff(*backoff) if isinstance(backoff, tuple) else backoff
        self._specs = tuple(self._accept(each) for each in children)
        ids = [spec.default_id for spec in self._specs]
        for id in ids:
            if ids.count(id) > 1:
                raise UsageError(f"two children have the id {id!r}; give one another with .options(id=...)")
        self._children: dict[Any, Child] = {}
        self._by_cell: dict[Cell, Child] = {}
        self._history: tuple[float, ...] = ()
        self._restarts = 0
        self._waiting_ready: list[ReplyTo[None]] = []

    def _accept(self, spec: Any) -> ChildSpec[Any]:
        """Read a child spec."""
        if isinstance(spec, Supervisor):
            args, options = spec._made_with
            spec = ChildSpec(type(spec), args, options, shutdown="forever")
        if not isinstance(spec, ChildSpec):
            raise UsageError(
                f"a supervisor takes child specs, got {spec!r}; write kb.child(Name, ...), with "
                ".options(id=...) behind it if it needs any"
            )
        spec.check()
        if spec.significant and self._auto_shutdown == "never":
            raise UsageError(
                f'{spec.default_id!r} is significant, which means nothing with auto_shutdown="never"; '
                'add auto_shutdown="any_significant" or "all_significant" to the supervisor'
            )
        return spec

    # -- starting and stopping -----------------------------------------------------------------

    async def on_start(self) -> None:
        self.trap_exits()
        for spec in self._specs:
            child = self._new_child(spec.default_id, spec)
            try:
                await self._bring_up(child)
            except Ignored:
                self._leave_down(child)
            except (StartError, NameTaken) as error:
                del self._children[child.id]
                await self._stop_all()
                raise Stop(Shutdown(FailedToStart(child.id, _why(error)))) from error

    async def on_stop(self, reason: ExitReason) -> None:
        await self._stop_all()

    async def _stop_all(self) -> None:
        for child in reversed(tuple(self._children.values())):
            await self._stop(child)

    def _new_child(self, id: Any, spec: ChildSpec[Any]) -> Child:
        child = self._children[id] = Child(id, spec, self._place().inner(id))
        return child

    def _place(self) -> Place:
        bonds = self._cell.bonds
        assert bonds is not None
        if bonds.place is None:
            bonds.place = Place(type(self).__qualname__.rpartition("<locals>.")[2].lower())
        return bonds.place

    def format_status(self) -> object:
        return {id: child.status for id, child in self._children.items()}

    def _extra(self) -> tuple[Any, ...]:
        """Arguments that go before those of every child's spec."""
        return ()

    async def _bring_up(self, child: Child) -> None:
        """Start a child and wait until it is up. Raises `StartError`, `NameTaken` or `Ignored`."""
        cell = child.spec.launch(self._cell.node, self._cell, child.place, self._extra())
        if cell.task is not None:
            await started(cell, child.spec.start_timeout)
        self._adopt(child, cell)

    def _adopt(self, child: Child, cell: Cell) -> None:
        child.cell = child.place.cell = cell
        child.status = "running"
        child.attempt += 1
        child.up_since = cell.node.loop.time()
        self._by_cell[cell] = child
        if self._waiting_ready:
            self._tell_ready()

    def _leave_down(self, child: Child) -> None:
        """The child's `on_start` said that there is nothing to start."""
        if child.spec.restart == "temporary":
            self._forget(child)
        else:
            child.status = "stopped"
            child.attempt += 1

    def _forget(self, child: Child) -> None:
        self._children.pop(child.id, None)
        self._place().forget(child.id)

    async def _stop(self, child: Child) -> None:
        """Stop a child in its own time; afterwards it has no cell and its exit message finds nobody."""
        cell, child.cell, child.place.cell = child.cell, None, None
        child.status = "stopped"
        child.attempt += 1
        if cell is not None:
            self._by_cell.pop(cell, None)
            child.last = await stop_cell(cell, self._cell, child.spec.shutdown)

    # -- a child has ended -----------------------------------------------------------------------

    def on_exit(self, exit: Exit) -> Coroutine[Any, Any, None] | None:
        child = self._by_cell.pop(exit.sender._cell, None)
        if child is None or child.cell is not exit.sender._cell:
            return None  # a stranger, or a child that was stopped on purpose
        return self._ended(child, exit.reason)

    def on_info(self, message: Any) -> None:
        """Whatever is not for a supervisor is reported and dropped; it never harms the children."""
        super().on_info(message)

    def _ended(self, child: Child, reason: ExitReason) -> Coroutine[Any, Any, None] | None:
        spec = child.spec
        ran_for = self._cell.node.loop.time() - child.up_since
        child.cell = child.place.cell = None
        child.last = reason
        child.attempt += 1
        backoff = spec.backoff or self._backoff
        if backoff is None or backoff.forgets(ran_for):
            child.failures = 0
        if should_restart(spec.restart, reason):
            return self._restart(child)
        child.status = "stopped"
        if spec.restart == "temporary":
            self._forget(child)
        others = any(each.spec.significant and each.cell is not None for each in self._children.values())
        if auto_shuts_down(
            self._auto_shutdown,
            significant=spec.significant,
            restart=spec.restart,
            reason=reason,
            others_active=others,
        ):
            self.stop(SHUTDOWN)
        return None

    def _restart(self, child: Child) -> Coroutine[Any, Any, None] | None:
        """Restart a child that has ended or did not start, and whom its strategy takes with it."""
        now = self._cell.node.loop.time()
        self._history, allowed = self._budget.spend(self._history, now)
        own = child.spec.budget
        if own is not None:
            child.history, allowed_own = own.spend(child.history, now)
            allowed = allowed and allowed_own
        if not allowed:
            self._give_up(child)
            return None
        child.failures += 1
        backoff = child.spec.backoff or self._backoff
        delay = 0.0 if backoff is None else backoff.delay(child.failures, random.random)
        if delay > 0:
            child.status = "backing_off"
            self.me.send_after(delay, Supervisor._again, child.id, child.attempt)
            return None
        return self._restart_now(child)

    def _restart_now(self, child: Child) -> Coroutine[Any, Any, None] | None:
        child.status = "restarting"
        if self._strategy == "one_for_one":
            # The usual restart needs no coroutine: the new child is up before this returns.
            try:
                cell = child.spec.launch(self._cell.node, self._cell, child.place, self._extra())
            except (StartError, NameTaken, Ignored) as error:
                self._not_up(child, error)
                return None
            if cell.task is not None and not child.spec.is_process:
                return self._finish_restart(child, cell)
            self._restarted(child, cell)
            return None
        return self._restart_group(child)

    async def _finish_restart(self, child: Child, cell: Cell) -> None:
        try:
            await started(cell, child.spec.start_timeout)
        except (StartError, Ignored) as error:
            self._not_up(child, error)
        else:
            self._restarted(child, cell)

    async def _restart_group(self, failed: Child) -> None:
        order = tuple(self._children)
        members = [self._children[id] for id in affected(self._strategy, order, failed.id)]
        for child in reversed(members):
            if child is not failed and child.status != "parked":
                await self._stop(child)
        for child in members:
            if child.spec.restart == "temporary" and child is not failed:
                self._forget(child)
                continue
            if child.status == "parked":
                continue
            child.status = "restarting"
            try:
                await self._bring_up(child)
            except Ignored as error:
                self._not_up(child, error)
            except (StartError, NameTaken) as error:
                self._not_up(child, error)
                return
            else:
                self._restarted(child, child.cell)

    def _restarted(self, child: Child, cell: Cell | None) -> None:
        assert cell is not None
        if child.cell is not cell:
            self._adopt(child, cell)
        child.restarts += 1
        self._restarts += 1
        instruments = self._cell.node.instruments
        instruments.emit(Restarted(self._cell.label(), repr(child.id), child.last, child.restarts))

    def _not_up(self, child: Child, error: Exception) -> None:
        """A restart did not succeed."""
        if isinstance(error, Ignored):
            self._leave_down(child)
            return
        child.last = _why(error)
        child.status = "restarting"
        child.attempt += 1
        instruments = self._cell.node.instruments
        instruments.emit(RestartFailed(self._cell.label(), repr(child.id), child.last))
        self.me.cast(Supervisor._again, child.id, child.attempt)

    @message
    def _again(self, id: Any, attempt: int) -> Coroutine[Any, Any, None] | None:
        """The wait before a restart is over, or a failed one is to be tried again."""
        child = self._children.get(id)
        if child is None or child.attempt != attempt:
            return None  # it was stopped, deleted or started by hand meanwhile
        if child.status == "backing_off":
            return self._restart_now(child)
        return self._restart(child)

    def _give_up(self, child: Child) -> None:
        instruments = self._cell.node.instruments
        if child.spec.on_give_up == "park":
            child.status = "parked"
            child.attempt += 1
            self._history = self._history[:-1]
            instruments.emit(Parked(self._cell.label(), repr(child.id), child.last))
            return
        instruments.emit(GivenUp(self._cell.label(), repr(child.id), child.last))
        self.stop(Shutdown(GaveUp(child.id, child.last)))

    # -- at run time -----------------------------------------------------------------------------

    @request
    async def start_child(self, spec: ChildSpec[Any]) -> ActorRef[Any]:
        """Add a child behind the others and start it.

        Raises:
            AlreadyStarted, AlreadyPresent: its id is taken.
            StartError, Ignored: it did not start; nothing is stored, but for an ignored child that is
                not temporary.
        """
        spec = self._accept(spec)
        id = spec.default_id
        old = self._children.get(id)
        if old is not None and old.cell is not None:
            raise AlreadyStarted(f"{self._cell.label()} runs a child {id!r} already", ActorRef(old.cell))
        if old is not None:
            raise AlreadyPresent(f"{self._cell.label()} has a child {id!r}, which is {old.status}")
        child = self._new_child(id, spec)
        try:
            await self._bring_up(child)
        except Ignored:
            self._leave_down(child)
            raise
        except BaseException:
            self._forget(child)
            raise
        assert child.cell is not None
        return ActorRef(child.cell)

    @request
    async def terminate_child(self, id: Any) -> None:
        """Stop a child, and no other; its spec stays unless it is temporary. Stopped is fine too."""
        child = self._get(id)
        await self._stop(child)
        if child.spec.restart == "temporary":
            self._forget(child)

    @request
    async def restart_child(self, id: Any) -> ActorRef[Any]:
        """Start a stopped child again; this spends nothing of the budget.

        Raises:
            ChildRunning, ChildRestarting, ChildNotFound, StartError, Ignored
        """
        child = self._get_stopped(id)
        await self._bring_up(child)
        assert child.cell is not None
        return ActorRef(child.cell)

    @request
    async def delete_child(self, id: Any) -> None:
        """Forget a stopped child. Raises `ChildRunning`, `ChildRestarting` or `ChildNotFound`."""
        self._forget(self._get_stopped(id))

    @request
    async def which_children(self) -> list[ChildInfo]:
        """All children, the newest first."""
        return [
            ChildInfo(
                child.id,
                None if child.cell is None else ActorRef(child.cell),
                child.status,
                "supervisor" if getattr(child.spec.target, "_is_supervisor", False) else "worker",
                child.restarts,
                None if child.cell is not None and not child.restarts else child.last,
            )
            for child in reversed(tuple(self._children.values()))
        ]

    @request
    async def count_children(self) -> Counts:
        """How many children there are."""
        kinds = [getattr(child.spec.target, "_is_supervisor", False) for child in self._children.values()]
        active = sum(1 for child in self._children.values() if child.cell is not None and child.cell.state != DEAD)
        return Counts(len(kinds), active, sum(kinds), len(kinds) - sum(kinds))

    @request
    async def child(self, id: Any) -> ActorRef[Any]:
        """A stable ref to a child. Raises `ChildNotFound`."""
        return self.ref(Actor, id)

    @message
    def _when_ready(self) -> None:
        self._waiting_ready.append(defer())
        self._tell_ready()

    async def wait_ready(self) -> None:
        """Wait until no child is being restarted; parked and stopped ones do not count."""
        await ActorRef(self._cell).within(None).call(Supervisor._when_ready)

    @request
    async def statistics(self) -> SupervisorStatistics:
        """Figures since the start."""
        states = [child.status for child in self._children.values()]
        return SupervisorStatistics(
            children=len(states),
            running=states.count("running"),
            restarting=states.count("restarting") + states.count("backing_off"),
            parked=states.count("parked"),
            restarts=self._restarts,
            strategy=self._strategy,
        )

    def _tell_ready(self) -> None:
        if all(child.status not in ("restarting", "backing_off") for child in self._children.values()):
            for reply in self._waiting_ready:
                reply.send(None)
            self._waiting_ready.clear()

    def _get(self, id: Any) -> Child:
        child = self._children.get(id)
        if child is None:
            known = ", ".join(repr(each) for each in self._children) or "none"
            raise ChildNotFound(f"{self._cell.label()} has no child {id!r}; its children are: {known}")
        return child

    def _get_stopped(self, id: Any) -> Child:
        child = self._get(id)
        if child.cell is not None:
            raise ChildRunning(f"the child {id!r} is running; terminate it first")
        if child.status in ("restarting", "backing_off"):
            raise ChildRestarting(f"the child {id!r} is being restarted ({child.status}); terminate it first")
        return child

    # -- read from anywhere on the loop ------------------------------------------------------------

    def ref(self, cls: type[AA], id: Any) -> ActorRef[AA]:
        """A stable ref to the child `id`, which survives its restarts.

        Raises:
            ChildNotFound: there is no such child.
            UsageError: it is an actor of another class.
        """
        child = self._get(id)
        target = child.spec.target
        if isinstance(target, type) and issubclass(target, Actor) and not issubclass(target, cls):
            raise UsageError(f"the child {id!r} is a {target.__name__}, not a {cls.__name__}")
        return ActorRef(child.cell if child.cell is not None else nobody(cls), child.place)


async def stop_cell(cell: Cell, by: Cell, shutdown: Any) -> ExitReason:
    """Ask a child to stop, and kill it when its time is over. It is watched, not only linked, so one
    that has unlinked itself cannot hang its supervisor.
    """
    if shutdown == "kill":
        cell.condemn(KILLED, kill=True)
    else:
        cell.node.signal_from(cell, by, SHUTDOWN)
    ended = await gone(cell, None if shutdown in ("kill", "forever") else shutdown)
    if ended is None:
        cell.condemn(KILLED, kill=True)
        ended = await gone(cell)
    assert ended is not None
    return ended


def _why(error: Exception) -> ExitReason:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, ExitReason) else Shutdown(str(error))

