"""`Bulkhead`: so many at once and no more, and a short queue before it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..._kernel._bonds import hold, let_go
from ..._kernel._cell import Cell
from ..._kernel._errors import ActorExited
from ..._kernel._node import this_node
from ..._supervision._options import seconds, whole
from ._gate import Gate, patience
from ._refusals import BulkheadFull


@dataclass(frozen=True, slots=True)
class BulkheadStatistics:
    """A bulkhead at one moment: places taken, who waits for one, and how many were let in or refused."""

    limit: int
    taken: int
    waiting: int
    passed: int
    refused: int


class BulkheadPlace:
    """One place in a bulkhead, until it is released or the process that took it has ended."""

    __slots__ = ("_bulkhead", "_owner")

    def __init__(self, bulkhead: Bulkhead, owner: Cell | None) -> None:
        self._bulkhead: Bulkhead | None = bulkhead
        self._owner = owner
        if owner is not None:
            hold(owner, self)

    @property
    def held(self) -> bool:
        """Whether the place is still taken."""
        return self._bulkhead is not None

    def release(self) -> bool:
        """Give the place back; False when it was given back before."""
        bulkhead, self._bulkhead = self._bulkhead, None
        owner, self._owner = self._owner, None
        if bulkhead is None:
            return False
        if owner is not None:
            let_go(owner, self)
        bulkhead._freed()
        return True

    def owner_ended(self, cell: Cell) -> None:
        """The owner has ended."""
        self.release()

    def __repr__(self) -> str:
        return f"<BulkheadPlace {'held' if self.held else 'released'}>"


class Bulkhead(Gate):
    """Lets `limit` calls run at once. Others wait in a queue of bounded length, in order, for a bounded time.

    Args:
        name: what events and errors call it.
        limit: calls at once.
        queue: how many may wait; 0 by default, so that who finds no place is refused at once.
        timeout: seconds that one waits at most; None, the default, is until its caller's deadline.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self, name: str = "bulkhead", *, limit: int, queue: int = 0, timeout: float | None = None
    ) -> None:
        super().__init__(name)
        self._limit = whole("limit", limit, 1)
        self._queue = whole("queue", queue, 0)
        seconds("timeout", timeout, none=True)
        self._timeout = timeout
        self._taken = self._passed_in = self._refused = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def acquire(self) -> BulkheadPlace:
        """Take a place, to be released by `place.release()` or by the end of the current process.

        Raises:
            BulkheadFull: there is none, or none in time.
        """
        owner = this_node().current
        if self._taken < self._limit and not self._waiting:
            self._taken += 1
        elif len(self._waiting) >= self._queue:
            self._refused += 1
            raise self._refuse(
                BulkheadFull(
                    self.name, f"all of its {self._limit} places and {self._queue} in the queue are taken"
                )
            )
        else:
            await self._wait()
        try:
            place = BulkheadPlace(self, owner)
        except ActorExited:  # nothing would ever give the place of a dead process back
            self._freed()
            raise
        self._passed_in += 1
        self._passed()
        return place

    async def _wait(self) -> None:
        """Wait until a place has been handed over, which is counted as taken all the while."""
        turn: asyncio.Future[None] = this_node().loop.create_future()
        self._waiting[turn] = None
        within = patience(self._timeout)
        try:
            async with asyncio.timeout(within):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._freed()  # handed over in the moment in which it was given up
            if isinstance(error, TimeoutError):
                self._refused += 1
                raise self._refuse(
                    BulkheadFull(self.name, f"no place was free within {within:g} s")
                ) from None
            raise
        finally:
            self._waiting.pop(turn, None)

    def _freed(self) -> None:
        """Hand a place to the one who has waited longest, or keep it."""
        while self._waiting:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    async def _enter(self) -> BulkheadPlace:
        return await self.acquire()

    def _leave(self, ticket: BulkheadPlace, error: BaseException | None) -> None:
        ticket.release()

    def statistics(self) -> BulkheadStatistics:
        """The bulkhead's figures now."""
        return BulkheadStatistics(
            self._limit, self._taken, len(self._waiting), self._passed_in, self._refused
        )

    def __repr__(self) -> str:
        return f"<Bulkhead {self.name} {self._taken} of {self._limit} places taken>"
