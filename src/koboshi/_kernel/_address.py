"""`Address`: who is meant, and what can be done to whoever that is."""

from __future__ import annotations

from contextvars import copy_context
from threading import get_ident
from typing import TYPE_CHECKING

from ._calls import DEFAULT_DEADLINE
from ._cell import DEAD, STATE_NAMES, Cell
from ._errors import ActorExited, CallCycle, CallTimeout, NotRunning, WrongThread
from ._reasons import KILL, NORMAL, ExitReason, NoProc, as_reason

if TYPE_CHECKING:
    from ._place import Place


class Address:
    """One incarnation of a process, or a place and whoever is there; `ActorRef` adds the messages."""

    __slots__ = ("_cell", "_place", "_within")

    def __init__(
        self, cell: Cell, place: Place | None = None, within: float | None = DEFAULT_DEADLINE
    ) -> None:
        self._cell = cell
        self._place = place
        self._within = within

    @property
    def alive(self) -> bool:
        """Whether somebody is at this address now."""
        return self._target().state != DEAD

    def exit(self, reason: object = NORMAL) -> None:
        """Send an exit signal from the current process, or from nowhere outside of one.

        `Normal()` is ignored by others, `Kill()` cannot be trapped, any other reason ends the process
        unless it traps exits. A value that is no `ExitReason` is sent as `Exited(value)`, an exception
        as `Crashed`.
        """
        cell = self._target()
        if get_ident() != cell.node.thread:
            raise self._wrong_thread()
        cell.node.signal_exit(cell, as_reason(reason))

    def kill(self) -> None:
        """End the process now: it cannot trap this, and its `on_stop` does not run."""
        self.exit(KILL)

    async def stop(self, reason: object = NORMAL, *, timeout: float | None = 5.0) -> None:
        """Ask the actor to end after the mail that it has, and wait until it has ended.

        A bare process is ended at once: only its own code knows what of its mail it wants.

        Args:
            reason: its exit reason.
            timeout: seconds to wait; the request stands when they are over.

        Raises:
            ActorExited: it was dead already (`NoProc`), or ended for another reason than asked.
            CallTimeout: it is still alive.
            CallCycle: asked by the actor itself; use `self.stop()` there.
        """
        from ._end import gone

        wanted = as_reason(reason)
        cell = self._target()
        node = cell.node
        if cell.state == DEAD:
            raise ActorExited(repr(self), "stop", NoProc(), maybe_executed=False)
        if node.current is cell:
            raise CallCycle((cell.label(), cell.label()), "stop")
        if cell.info.stop_request is cell.info.on_info:
            cell.condemn(wanted)  # a bare process takes its mail itself and would not know a stop request
        else:
            cell.post((cell.info.stop_request, wanted, None, copy_context(), None))
        ended = await gone(cell, timeout)
        if ended is None:
            raise CallTimeout(cell.label(), "stop", timeout or 0.0, maybe_executed=True)
        if ended != wanted:
            raise ActorExited(cell.label(), "stop", ended, maybe_executed=True)

    async def wait_exit(self, timeout: float | None = None) -> ExitReason | None:
        """Wait until this incarnation has ended; its reason, or None after `timeout` seconds."""
        from ._end import gone

        return await gone(self._target(), timeout)

    def suspend(self) -> None:
        """Let mail queue up without being handled, until `resume`. Twice is the same as once."""
        self._target().node.suspend(self._target())

    def resume(self) -> None:
        """Handle mail again."""
        self._target().node.resume(self._target())

    # -- inside ------------------------------------------------------------------------------

    def _target(self) -> Cell:
        """The cell that is meant now; a dead one when nobody is there."""
        if self._place is not None and self._cell.state == DEAD:
            found = self._place.cell
            if found is not None:
                if not self._place.by_name:
                    self._cell = found
                return found
        return self._cell

    def _not_running(self, what: str) -> NotRunning:
        """The error of a send that found nobody here."""
        vacancy = None if self._place is None else self._place.vacancy()
        return NotRunning(repr(self), what, *(vacancy or ()))

    def _wrong_thread(self) -> WrongThread:
        return WrongThread(
            f"{self!r} was used on another thread than its event loop's; use `ref.threadsafe.call(...)` "
            "or `ref.threadsafe.cast(...)`"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        if self._place is not None or other._place is not None:
            return self._place == other._place
        return self._cell is other._cell

    def __hash__(self) -> int:
        return hash(self._cell if self._place is None else self._place)

    def __repr__(self) -> str:
        cell = self._target()
        if self._place is None:
            return f"<ActorRef {cell.label()} {STATE_NAMES[cell.state]}>"
        return f"<ActorRef {self._place.label()} {STATE_NAMES[cell.state]}>"
