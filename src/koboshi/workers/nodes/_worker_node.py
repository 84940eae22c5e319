"""`WorkerNode`: the actor that stands for one worker node in the supervision tree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..._kernel._actor import Actor
from ..._kernel._cell import DEAD
from ..._kernel._end import gone
from ..._kernel._errors import UsageError
from ..._kernel._message import message
from ..._kernel._reasons import ExitReason
from ..._supervision._options import seconds
from ..._supervision._spec import ChildSpec
from .._errors import WorkerCrashed
from .._exit import WorkerExit
from ._hub import hub_of
from ._peer import REPORT_AFTER
from ._placement import check_name

GRACE = 4.0


@dataclass(frozen=True, slots=True)
class WorkerNodeStatistics:
    """A worker node at one moment, as of its last answer.

    Attributes:
        name, pid: what it is called, and its process.
        processes: actors and bare processes that live on it.
        queued: of these, the ones that wait for their turn.
        silent: seconds since its event loop last answered.
        unsent: bytes on their way to it that its socket has not taken.
    """

    name: str
    pid: int
    processes: int
    queued: int
    silent: float
    unsent: int


class WorkerNode(Actor):
    """A worker node under a supervisor: it starts with its OS process and dies with it; see `node`."""

    def __init__(
        self,
        name: str,
        *,
        preload: Sequence[str] = (),
        report_after: float = REPORT_AFTER,
        unresponsive_after: float | None = None,
        grace: float = GRACE,
    ) -> None:
        self._name = name
        self._preload = tuple(preload)
        self._report_after = report_after
        self._unresponsive_after = unresponsive_after
        self._grace = grace

    async def on_start(self) -> None:
        """Returns when the node's event loop has answered."""
        hub = self._hub = hub_of(self._kb_cell.node)
        before = hub.peers.get(hub.named.get(self._name, -1))
        if before is not None and before.keeper is not None and before.keeper.state == DEAD:
            before.kill("its actor was killed")  # of which the supervisor has heard sooner than the process
            await asyncio.shield(before.gone)
        if self._name in hub.named:
            raise UsageError(f"there is a node {self._name!r} already; give this one another name")
        process = self._process = hub.new_process(self._name, named=True)
        process.keeper = self._kb_cell
        process.report_after, process.kill_after = self._report_after, self._unresponsive_after
        # A kill of this actor skips `on_stop`, and must not leave the process behind.
        self._guard = asyncio.ensure_future(gone(self._kb_cell))
        self._guard.add_done_callback(lambda _: process.kill("its actor was killed"))
        await hub.boot(process, self._preload)
        me = self.me
        process.gone.add_done_callback(lambda _: me.cast(WorkerNode.died, process.exit))

    @message
    def died(self, exit: WorkerExit | None) -> None:
        """The process is gone; so is this actor."""
        assert exit is not None  # it has started, so it has ended as processes do
        raise WorkerCrashed(None, exit, worker=self._name, maybe_executed=False)

    @message
    def statistics(self) -> WorkerNodeStatistics:
        """What is known of the node now."""
        process = self._process
        return WorkerNodeStatistics(
            self._name,
            process.pid,
            process.processes,
            process.queued,
            self._kb_cell.node.loop.time() - process.heard,
            process.connection.unsent_bytes,
        )

    async def on_stop(self, reason: ExitReason) -> None:
        """Let the node stop what lives on it, for as long as `grace` says."""
        await self._process.stop(self._grace)

    def format_status(self) -> object:
        return {"node": self._name, "process": repr(getattr(self, "_process", None))}


def node(
    name: str,
    *,
    preload: Sequence[str] = (),
    report_after: float = REPORT_AFTER,
    unresponsive_after: float | None = None,
    grace: float = GRACE,
) -> ChildSpec[WorkerNode]:
    """A worker node as a child: an OS process with an event loop, for children with `on=name`.

    When its process dies, by whatever cause, so does everything on it, with `NoConnection`; supervisors
    start the node and their children again, each under its own budget.

    Args:
        name: what `on=` and `spread` call it.
        preload: modules that it has imported when it starts.
        report_after: seconds after which it is reported as `LoopBlocked`, with its stacks, when its
            event loop does not answer; 1 by default.
        unresponsive_after: seconds after which it is killed then; None, the default, is never.
        grace: seconds that it has to stop in, 4 by default; then it is killed.

    Raises:
        UsageError: an option has no such value.
    """
    check_name(name)
    seconds("report_after", report_after)
    seconds("unresponsive_after", unresponsive_after, none=True)
    seconds("grace", grace)
    options = {
        "preload": tuple(preload),
        "report_after": report_after,
        "unresponsive_after": unresponsive_after,
        "grace": grace,
    }
    return ChildSpec(WorkerNode, (name,), options, id=name)
