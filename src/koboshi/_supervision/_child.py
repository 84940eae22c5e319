"""One child: what its supervisor knows of it, how its start is waited for, how it is stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from .._kernel._cell import Cell
from .._kernel._end import gone, hear_by_error
from .._kernel._errors import StartTimeout
from .._kernel._place import Place
from .._kernel._reasons import KILLED, SHUTDOWN, ExitReason, Killed
from .._kernel._ref import ActorRef
from .._kernel._task import START
from ._spec import ChildSpec

Status = Literal["starting", "running", "restarting", "backing_off", "parked", "stopped"]

# What will be running again, or for the first time, without anybody asking for it.
ON_THE_WAY: frozenset[Status] = frozenset({"starting", "restarting", "backing_off"})


@dataclass(slots=True, eq=False)
class Child:
    """One child as its supervisor sees it."""

    id: Any
    spec: ChildSpec[Any]
    place: Place
    # Set exactly while the status is running.
    cell: Cell | None = None
    # Set while a coroutine `on_start` of it runs.
    starting: Cell | None = None
    status: Status = "stopped"
    restarts: int = 0
    # Failures in a row, for the backoff.
    failures: int = 0
    # Grows with each start and each end, so that a retry that is out of date is known.
    attempt: int = 0
    up_since: float = 0.0
    # When its own failures spent from a budget.
    history: tuple[float, ...] = ()
    last: ExitReason | None = None

    @property
    def is_supervisor(self) -> bool:
        """Whether it is a supervisor itself."""
        return getattr(self.spec.target, "_kb_is_supervisor", False)


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child in the answer of `which_children`.

    `ref` is a pid ref, None while it is not running. `status` is starting, running, restarting,
    backing_off, parked or stopped; `kind` is worker or supervisor. `last_exit` is how it ended the
    last time, None when it never has.
    """

    id: Any
    ref: ActorRef[Any] | None
    status: Status
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


def expect_start(cell: Cell) -> asyncio.Future[Any] | None:
    """What will say how a coroutine `on_start` went: None for well, else the error; None if there is none.

    It must be asked for in the same step as the launch: afterwards the start may be over.
    """
    task = cell.task
    if task is None or task.kind is not START:
        return None
    if task.ready is None:
        task.ready = cell.node.loop.create_future()
    return task.ready


async def wait_start(cell: Cell, ready: asyncio.Future[Any], timeout: float | None) -> None:
    """Wait for what `expect_start` gave. A cancelled wait leaves the cell as it is.

    Raises:
        StartError, StartTimeout, Ignored: it failed, and nothing of it is left.
    """
    try:
        async with asyncio.timeout(timeout):
            failure = await asyncio.shield(ready)
    except TimeoutError:
        hear_by_error(cell)
        cell.condemn(KILLED, kill=True)
        await gone(cell)
        raise StartTimeout(cell.label(), Killed(f"on_start took longer than {timeout:g} s")) from None
    if failure is not None:
        raise failure


async def stop_cell(cell: Cell, by: Cell, shutdown: Any) -> ExitReason:
    """Ask a child to stop, and kill it when its time is over.

    It is watched, not only linked, so one that has unlinked itself cannot hang its supervisor; and it
    stays linked, so it hears of it when the supervisor is killed meanwhile.
    """
    task = cell.task
    if shutdown == "kill":
        cell.condemn(KILLED, kill=True)
    elif task is not None and task.kind is START and _stops_by_itself(cell):
        task.cancel()
    else:
        cell.node.signal_from(cell, by, SHUTDOWN)
    ended = await gone(cell, None if shutdown in ("kill", "forever") else shutdown)
    if ended is None:
        cell.condemn(KILLED, kill=True)
        ended = await gone(cell)
    assert ended is not None
    return ended


def _stops_by_itself(cell: Cell) -> bool:
    """Whether a starting cell is a supervisor with children, which its `on_start` stops when cancelled.

    It traps exits, so a signal would wait for a start that may never end.
    """
    supervises = getattr(cell.info.cls, "_kb_is_supervisor", False)
    return supervises and cell.bonds is not None and cell.bonds.traps
