"""A queue as one event loop sees it while its child is up."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..._kernel._cell import Cell
from ..._kernel._node import Node, this_node
from .._failures import Corrupted, StoreClosed
from ..stores import Store
from ._look import LookAt, States
from ._plan import Plan
from ._vault import Vault

if TYPE_CHECKING:
    from ._flow import Flow
    from ._job import Job

__all__ = ["Listening", "Live", "find_live", "runs_here"]

# Seconds between two looks for results that other programs may have recorded.
_LOOK = 0.25
# Seconds after its put in which another program has hardly taken and ended a task.
_FRESH = 0.02
# Bytes of a result that is kept for a job until it is asked for; a larger one is read from the store.
_SMALL = 1_024
_ENDED = ("done", "dead", "cancelled")

Ending = tuple[str, bytes | None, str | None]


class Live:
    """Its store, who waits for results, and what runs its tasks here, if anything does.

    It is found by the queue's name and store, so that any `Queue` that is made with these is the same one.
    """

    def __init__(self, node: Node, key: tuple[str, Any], store: Store, vault: Vault) -> None:
        self.store = store
        self._vault = vault
        self.flow: Flow | None = None
        self._node = node
        self._key = key
        self._waiters: dict[str, list[asyncio.Future[Ending | None]]] = {}
        # Jobs of tasks that were put here and have not ended here, while somebody has them.
        self._put: weakref.WeakValueDictionary[str, Job[Any]] = weakref.WeakValueDictionary()
        self._room: list[asyncio.Future[None]] = []
        #: Told after each group of endings that this program has recorded.
        self.listeners: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        node.services.setdefault("koboshi.queues", {})[key] = self

    def close(self) -> None:
        """The child has ended: whoever waits is told so."""
        queues = self._node.services["koboshi.queues"]
        if queues.get(self._key) is self:
            del queues[self._key]
        if self._timer is not None:
            self._timer.cancel()
        for waiters in self._waiters.values():
            for future in waiters:
                if not future.done():
                    future.set_exception(StoreClosed(self.store.url, "closed"))
                    future.exception()  # a waiter that was cancelled does not look
        self._waiters.clear()
        self.let_in()

    def owner_ended(self, cell: Cell) -> None:
        """The child was killed."""
        self.close()

    # -- tasks come in ----------------------------------------------------------------------------

    def wake(self) -> None:
        """Tasks may be ready."""
        if self.flow is not None:
            self.flow.wake()

    async def wait_room(self) -> None:
        """Wait until tasks have left the queue here, or some moments have passed."""
        future: asyncio.Future[None] = self._node.loop.create_future()
        self._room.append(future)
        await asyncio.wait([future], timeout=_LOOK)

    def let_in(self) -> None:
        """Tasks have left the queue."""
        room, self._room = self._room, []
        for future in room:
            if not future.done():
                future.set_result(None)

    # -- results go out ----------------------------------------------------------------------------

    def was_put(self, job: Job[Any]) -> None:
        """A new task was put here; what it comes to is kept for its job, if it ends here."""
        if self.flow is not None:
            job.put_at = self._node.loop.time()
            self._put[job.id] = job

    def told(self, id: str, ending: Ending) -> None:
        """A task has ended here."""
        job = self._put.pop(id, None)
        waiters = self._waiters.pop(id, None)
        if waiters is not None:
            for future in waiters:
                if not future.done():
                    future.set_result(ending)
        elif job is not None and ending[0] == "done" and len(ending[1] or b"") <= _SMALL:
            # This is final. A dead letter may be requeued by the time that somebody asks.
            job.ending = ending

    def recorded(self) -> None:
        """What became of some tasks is committed."""
        for tell in tuple(self.listeners):
            tell()

    async def wait_ended(self, id: str, put_at: float) -> Ending | None:
        """How a task has ended; None if there is no such task.

        Args:
            put_at: when it was put here, on the loop's clock; 0.0: it was not.
        """
        future: asyncio.Future[Ending | None] = self._node.loop.create_future()
        self._waiters.setdefault(id, []).append(future)
        if not self._runs_here(id, put_at):
            self._look([id])
        if self._timer is None:
            self._timer = self._node.loop.call_later(_LOOK, self._look_again)
        try:
            return await future
        finally:
            waiters = self._waiters.get(id)
            if waiters is not None and future in waiters:
                waiters.remove(future)
                if not waiters:
                    del self._waiters[id]

    def _runs_here(self, id: str, put_at: float) -> bool:
        """Whether the store need not be asked at once: it has most likely not ended, and we are told when it does."""
        flow = self.flow
        return flow is not None and (id in flow.held or self._node.loop.time() < put_at + _FRESH)

    def _look_again(self) -> None:
        self._timer = None
        if self._waiters:
            self._timer = self._node.loop.call_later(_LOOK, self._look_again)
            self._look(list(self._waiters))

    def _look(self, ids: list[str]) -> None:
        def found(states: States, error: Exception | None) -> None:
            if error is not None:
                return  # the database cannot be reached now, and there is a next look
            for id in ids:
                state = states.get(id)
                if state is None:
                    for future in self._waiters.pop(id, ()):
                        if not future.done():
                            future.set_result(None)
                elif state[0] in _ENDED:
                    self._opened(id, state)

        try:
            self.store.submit(LookAt(self._key[0], ids), found)
        except Exception as error:
            for id in ids:
                self._fail(id, error)

    def _opened(self, id: str, ending: Ending) -> None:
        state, result, report = ending
        try:
            opened = (state, self._vault.open_result(id, result), self._vault.open_report(id, report))
        except Corrupted as error:
            self._fail(id, error)
        else:
            self.told(id, opened)

    def _fail(self, id: str, error: Exception) -> None:
        for future in self._waiters.pop(id, ()):
            if not future.done():
                future.set_exception(error)


class Listening:
    """Hears of what is recorded until its actor ends: what `hold` takes.

    Args:
        tell: called after each group; it may not raise.
    """

    def __init__(self, live: Live, tell: Callable[[], None]) -> None:
        self._live = live
        self._tell = tell
        live.listeners.append(tell)

    def owner_ended(self, cell: Cell) -> None:
        """The actor has ended."""
        self._live.listeners.remove(self._tell)


def find_live(plan: Plan) -> Live:
    """The queue of that name and store which is up on this loop.

    Raises:
        StoreClosed: there is none.
    """
    live: Live | None = this_node().services.get("koboshi.queues", {}).get(plan.key)
    if live is None:
        raise StoreClosed(plan.shown, f"not open for the queue {plan.name!r}")
    return live


def runs_here(plan: Plan) -> bool:
    """Whether tasks of the queue are run on this loop, if there is one."""
    try:
        return find_live(plan).flow is not None
    except (StoreClosed, RuntimeError):
        return False
