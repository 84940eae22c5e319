"""`Applications`: a whole program, as the supervisor of its applications' masters."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, cast

from ..._kernel._errors import ChildNotFound, SupervisorGaveUp, UsageError
from ..._kernel._events import Event
from ..._kernel._reasons import NORMAL, ExitReason
from ..._kernel._ref import ActorRef
from ..._supervision._child import Child, SupervisorStatistics
from ..._supervision._root import request
from ..._supervision._spec import ChildSpec
from ..._supervision._supervisor import Supervisor
from ._application import Application, Importance
from ._errors import ApplicationFailed, ApplicationInUse, ApplicationNotStarted
from ._master import ApplicationMaster
from ._order import start_order


@dataclass(frozen=True, slots=True)
class ApplicationEnded(Event):
    """An application has ended by itself, for `reason`."""

    level: ClassVar[int] = logging.WARNING
    application: str
    restart: Importance
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class ApplicationInfo:
    """One application in the answer of `which_applications`.

    Attributes:
        status: running, stopped (on purpose, or not started yet) or ended (by itself).
        tree: a pid ref to its tree, None while it does not run.
        last_exit: how it ended the last time, None when it never has.
    """

    name: str
    status: Literal["running", "stopped", "ended"]
    restart: Importance
    needs: tuple[str, ...]
    tree: ActorRef[Any] | None
    last_exit: ExitReason | None


@dataclass(frozen=True, slots=True)
class ApplicationsStatistics(SupervisorStatistics):
    """A supervisor's figures, and its applications, the newest first."""

    applications: tuple[ApplicationInfo, ...]


class Applications(Supervisor):
    """Runs a program: `kb.run(otp.Applications(Store(), Web()).main)`.

    Applications are started one after another, each behind those that it needs, and stopped in reverse.
    If one does not start, those before it are stopped again and the start fails.

    Raises:
        MissingDependency, DependencyCycle: at once, before anything is started.
        UsageError: something is no application, or a name is there twice.
    """

    def __init__(self, *applications: Application) -> None:
        self._applications: dict[str, Application] = {}
        for each in applications:
            application: object = each
            if not isinstance(application, Application):
                made = f"; make one: {application.__name__}(...)" if isinstance(application, type) else ""
                raise UsageError(
                    f"Applications takes objects of subclasses of Application, got {each!r}{made}"
                )
            if each.name in self._applications:
                raise UsageError(f"two applications have the name {each.name!r}; give one another")
            self._applications[each.name] = each
        order = start_order({name: each.needs for name, each in self._applications.items()})
        # What ended by itself, until it is started again.
        self._ended_itself: dict[str, ExitReason] = {}
        self._last_exits: dict[str, ExitReason] = {}
        # Whose end was the program's.
        self._fatal: tuple[Application, ExitReason] | None = None
        super().__init__(*(_spec(self._applications[name]) for name in order))
        self._made_with = applications, {}

    def _accept(self, spec: Any) -> ChildSpec[Any]:
        if not isinstance(spec, ChildSpec) or cast("Any", spec).target is not ApplicationMaster:
            raise UsageError(
                f"the children of Applications are applications, got {spec!r}; use start_application"
            )
        return super()._accept(spec)

    # -- the program as a whole ------------------------------------------------------------------

    async def main(self) -> None:
        """Run until the program is asked to stop, or an application ends that it does not go on without.

        Raises:
            ApplicationFailed: such an application ended, and not cleanly.
            StartError: one did not start.
        """
        async with self:
            await asyncio.get_running_loop().create_future()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            return await super().__aexit__(kind, error, trace)
        except SupervisorGaveUp:
            if self._fatal is None:
                raise
            application, reason = self._fatal
            failed = ApplicationFailed(application.name, application.restart, reason)
            raise failed from failed.__cause__

    def _over(self, child: Child) -> None:
        super()._over(child)
        application, reason = self._applications[child.id], child.last or NORMAL
        self._ended_itself[child.id] = self._last_exits[child.id] = reason
        self._kb_cell.node.instruments.emit(
            ApplicationEnded(self._kb_cell.label(), application.name, application.restart, reason)
        )
        if application.restart == "permanent" or (application.restart == "transient" and not reason.clean):
            if self._fatal is None:
                self._fatal = application, reason
            self.stop(reason)

    # -- at run time -----------------------------------------------------------------------------

    @request
    async def start_application(self, name: str) -> None:
        """Start an application of this program that has been stopped, or has ended. Running is fine too.

        Raises:
            ApplicationNotStarted: one that it needs is not running.
            ChildNotFound: there is no such application.
            StartError: it did not start; its importance is not asked for.
        """
        application = self._known(name)
        if name in self._children:
            return
        missing = tuple(each for each in application.needs if each not in self._children)
        if missing:
            raise ApplicationNotStarted(name, missing)
        await self.start_child(_spec(application))
        self._ended_itself.pop(name, None)

    @request
    async def stop_application(self, name: str) -> None:
        """Stop an application; the program goes on, whatever its importance. Stopped is fine too.

        Raises:
            ApplicationInUse: running ones need it.
            ChildNotFound: there is no such application.
        """
        self._known(name)
        if name not in self._children:
            return
        users = tuple(each for each in self._children if name in self._applications[each].needs)
        if users:
            raise ApplicationInUse(name, users)
        child = self._children[name]
        await self.terminate_child(name)
        if child.last is not None:
            self._last_exits[name] = child.last

    @request
    async def which_applications(self) -> list[ApplicationInfo]:
        """All applications, the one that was started last first; behind them those that do not run."""
        down = [name for name in self._applications if name not in self._children]
        return [self._info(name) for name in (*reversed(tuple(self._children)), *down)]

    @request
    async def statistics(self) -> ApplicationsStatistics:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Figures since the start, with all applications."""
        states = [child.status for child in self._children.values()]
        return ApplicationsStatistics(
            children=len(states),
            running=states.count("running"),
            restarting=0,
            parked=0,
            restarts=self._restarts,
            strategy=self._strategy,
            applications=tuple(await self.which_applications()),
        )

    def _known(self, name: str) -> Application:
        given: object = name
        found = self._applications.get(name) if isinstance(given, str) else None
        if found is None:
            known = ", ".join(map(repr, self._applications)) or "none"
            raise ChildNotFound(f"there is no application {name!r}; there are: {known}")
        return found

    def _info(self, name: str) -> ApplicationInfo:
        application, child = self._applications[name], self._children.get(name)
        # Masters run on this loop, always: their specs have no `on`.
        master = None if child is None or child.cell is None else cast("ApplicationMaster", child.cell.actor)
        status: Literal["running", "stopped", "ended"] = "ended" if name in self._ended_itself else "stopped"
        return ApplicationInfo(
            name,
            status if master is None else "running",
            application.restart,
            application.needs,
            None if master is None else master.tree(),
            self._last_exits.get(name),
        )


def _spec(application: Application) -> ChildSpec[ApplicationMaster]:
    return ChildSpec(
        ApplicationMaster, (application,), id=application.name, restart="temporary", shutdown="forever"
    )
