"""`Supervisor`: its options, its own start and end, and what it can be asked at run time.

What happens to a child is in `_children`, what follows when one ends in `_restarting`, and what is
decided then in `_restart`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .._kernel._actor import Actor
from .._kernel._cell import DEAD
from .._kernel._end import Stop
from .._kernel._errors import (
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
from .._kernel._reasons import SHUTDOWN, ExitReason, FailedToStart, Shutdown, as_reason
from .._kernel._ref import ActorRef
from .._kernel._reply import defer
from .._kernel._self import nobody
from .._kernel._start import Ignored
from ._child import ON_THE_WAY, Child, ChildInfo, Counts, SupervisorStatistics
from ._options import one_of
from ._restart import AUTO_SHUTDOWNS, STRATEGIES, AutoShutdown, Backoff, Budget, Strategy, backoff_of
from ._restarting import Restarting
from ._root import RootContext, request
from ._spec import ChildSpec

AA = TypeVar("AA", bound=Actor)


async def _answered(request: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of a request that waits; its refusal is sent to the caller."""
    try:
        return await request
    except KoboshiError as refused:
        defer().fail(refused)


class Supervisor(RootContext, Restarting):
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

    _kb_is_supervisor = True
    # What a child spec of it has for `shutdown` unless it says otherwise: its children have their own time.
    _kb_shutdown: Any = "forever"

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        """A request that cannot be met is the caller's error and no crash of the supervisor."""

        @functools.wraps(run)
        async def in_a_task(self: Supervisor, *args: Any, **kwargs: Any) -> Any:
            return await _answered(run(self, *args, **kwargs))

        # Apart from the other: a coroutine for each request costs more than most of what is asked for.
        @functools.wraps(run)
        def at_once(self: Supervisor, *args: Any, **kwargs: Any) -> Any:
            try:
                result: Any = run(self, *args, **kwargs)
            except KoboshiError as refused:
                return defer().fail(refused)
            return _answered(result) if inspect.iscoroutine(result) else result  # pyright: ignore[reportUnknownVariableType]

        return in_a_task if inspect.iscoroutinefunction(run) else at_once

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
        super().__init__(strategy, Budget(max_restarts, within), auto_shutdown, backoff_of(backoff))
        # What a copy is made with when this object is a child; None once it has been started itself.
        self._made_with: tuple[tuple[Any, ...], dict[str, Any]] | None = (
            children,
            {
                "strategy": strategy,
                "max_restarts": max_restarts,
                "within": within,
                "auto_shutdown": auto_shutdown,
                "backoff": backoff,
            },
        )
        self._specs = tuple(self._accept(each) for each in children)
        seen: set[Any] = set()
        for spec in self._specs:
            if spec.default_id in seen:
                raise UsageError(
                    f"two children have the id {spec.default_id!r}; give one another with .options(id=...)"
                )
            seen.add(spec.default_id)

    def _accept(self, spec: Any) -> ChildSpec[Any]:
        """Read a child spec."""
        if isinstance(spec, Supervisor):
            if spec._made_with is None:
                raise UsageError(f"{spec!r} runs already, or has run; a child is started by its supervisor")
            args, options = spec._made_with
            # Not ChildSpec[Any](...): a frozen class with slots cannot take what that writes into it.
            copied: ChildSpec[Any] = ChildSpec(type(spec), args, options, shutdown="forever")
            return self._accept(copied)
        if not isinstance(spec, ChildSpec):
            raise UsageError(
                f"a supervisor takes child specs, got {spec!r}; write kb.child(Name, ...), with "
                ".options(id=...) behind it if it needs any"
            )
        accepted: ChildSpec[Any] = spec  # pyright: ignore[reportUnknownVariableType]
        accepted.check(self._extra())
        if accepted.significant and self._auto_shutdown == "never":
            raise UsageError(
                f'{accepted.default_id!r} is significant, which means nothing with auto_shutdown="never"; '
                'add auto_shutdown="any_significant" or "all_significant" to the supervisor'
            )
        return accepted

    # -- its own start and end -------------------------------------------------------------------

    async def on_start(self) -> None:
        self.trap_exits()
        # Not kept: the arguments of a temporary child are needed once.
        specs, self._specs, self._made_with = self._specs, (), None
        for spec in specs:
            child = self._new_child(spec.default_id, spec)
            child.status = "starting"
            try:
                await self._bring_up(child)
            except Ignored:
                self._leave_down(child)
            except (StartError, NameTaken) as error:
                del self._children[child.id]
                await self._stop_all()
                raise Stop(Shutdown(FailedToStart(child.id, _why(error)))) from error
            except asyncio.CancelledError:
                if self._kb_cell.doom is not None:
                    raise  # killed: the children hear of it through their links
                await self._stop_all()
                raise Stop(SHUTDOWN) from None

    async def on_stop(self, reason: ExitReason) -> None:
        # It will not be ready any more: whoever waits for that hears of the end instead.
        self._waiting_ready.clear()
        await self._stop_all()

    def on_info(self, message: Any) -> None:
        """Whatever is not for a supervisor is reported and dropped; it never harms the children."""
        super().on_info(message)

    def format_status(self) -> object:
        return {id: child.status for id, child in self._children.items()}

    def _kb_attributes(self) -> dict[str, Any]:
        own = _runtime_names()
        return {name: value for name, value in super()._kb_attributes().items() if name not in own}

    def _kb_state(self) -> Any:
        return self.format_status()

    def _kb_put_state(self, state: Any) -> None:
        raise UsageError(
            f"the state of {self._kb_cell.label()} is its children, which start_child, terminate_child, "
            "restart_child and delete_child change; it cannot be replaced"
        )

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        if cell is None:
            return f"<{type(self).__qualname__} not started, {len(self._specs)} specs>"
        running = sum(1 for child in self._children.values() if child.cell is not None)
        return (
            f"<{type(self).__qualname__} {cell.label()}, {running} of {len(self._children)} children running>"
        )

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
            raise AlreadyStarted(f"{self._kb_cell.label()} runs a child {id!r} already", ActorRef(old.cell))
        if old is not None:
            raise AlreadyPresent(f"{self._kb_cell.label()} has a child {id!r}, which is {old.status}")
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
        if child is self._retrying:
            await self._start_pending()  # those that its failing start kept waiting

    @request
    async def restart_child(self, id: Any) -> ActorRef[Any]:
        """Start a stopped or parked child again; this spends nothing of the budget.

        Raises:
            ChildRunning, ChildRestarting, ChildNotFound, StartError, Ignored
        """
        child = self._get_stopped(id)
        try:
            await self._bring_up(child)
        except Ignored:
            self._leave_down(child)
            raise
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
                "supervisor" if child.is_supervisor else "worker",
                child.restarts,
                child.last,
            )
            for child in reversed(tuple(self._children.values()))
        ]

    @request
    async def count_children(self) -> Counts:
        """How many children there are."""
        children = self._children.values()
        active = sum(1 for child in children if child.cell is not None and child.cell.state != DEAD)
        supervisors = sum(1 for child in children if child.is_supervisor)
        return Counts(len(children), active, supervisors, len(children) - supervisors)

    @request
    async def child(self, id: Any) -> ActorRef[Any]:
        """A stable ref to a child. Raises `ChildNotFound`."""
        return self.ref(Actor, id)

    @request
    async def wait_ready(self) -> None:
        """Wait until no child is being started or restarted; parked and stopped ones do not count."""
        self._waiting_ready.append(defer())
        self._tell_ready()

    @request
    async def statistics(self) -> SupervisorStatistics:
        """Figures since the start."""
        states = [child.status for child in self._children.values()]
        return SupervisorStatistics(
            children=len(states),
            running=states.count("running"),
            restarting=sum(1 for status in states if status in ON_THE_WAY),
            parked=states.count("parked"),
            restarts=self._restarts,
            strategy=self._strategy,
        )

    def _get(self, id: Any) -> Child:
        try:
            child = self._children.get(id)
        except TypeError:  # it cannot be hashed, so it is nobody's id
            child = None
        if child is None:
            known = ", ".join(repr(each) for each in self._children) or "none"
            raise ChildNotFound(f"{self._kb_cell.label()} has no child {id!r}; its children are: {known}")
        return child

    def _get_stopped(self, id: Any) -> Child:
        child = self._get(id)
        if child.cell is not None:
            raise ChildRunning(f"the child {id!r} is running; terminate it first")
        if child.status in ON_THE_WAY:
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
        if isinstance(target, type) and issubclass(target, Actor) and not target._kb_answers_for(cls):
            raise UsageError(f"the child {id!r} is a {target.__name__}, not a {cls.__name__}")
        return ActorRef(child.cell if child.cell is not None else nobody(cls), child.place)


@functools.cache
def _runtime_names() -> frozenset[str]:
    """Attributes of every supervisor that are the runtime's and not of a subclass."""
    from ._dynamic import DynamicSupervisor

    of_a_root = ("_root_task", "_exit_reason", "_cancelled_body", "_owner", "_guard", "_unwatch")
    return frozenset((*vars(DynamicSupervisor()), *of_a_root))


def _why(error: Exception) -> ExitReason:
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, ExitReason) else as_reason(error)
