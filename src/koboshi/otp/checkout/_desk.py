"""Who has which worker, who waits for one, and what follows from each event. Decisions alone, no messages.

The rules are poolboy's: a worker that comes back goes to the oldest waiter; else it is dismissed if there are
more than the regular ones; else it is free. One that dies is replaced if it is a regular one, or somebody
waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Generic, Literal, TypeVar

from ._loan import Loan

__all__ = ["Desk", "Order"]

W = TypeVar("W")

Order = Literal["lifo", "fifo"]


class Desk(Generic[W]):
    """The books of one pool, for workers of type W.

    Args:
        size: regular workers.
        overflow: how many more there may be while all are lent.
        order: which free worker is next: the one that came back last, or first.
        max_waiting: how many may wait, None for any number.
    """

    def __init__(self, size: int, overflow: int, order: Order, max_waiting: int | None) -> None:
        self.size = size
        self.overflow = overflow
        self.order: Order = order
        self.max_waiting = max_waiting
        self.free: deque[W] = deque()
        self.lent: dict[W, Loan] = {}
        # Alive and not to be lent just now: being reset, or asked whether they are well.
        self.held: dict[W, None] = {}
        # Workers that are being started, or wait to be.
        self.starting = 0
        # Not a plain dict: to find the first key of one whose first keys have gone takes longer and longer.
        self.waiters: OrderedDict[Any, Loan] = OrderedDict()

    @property
    def total(self) -> int:
        """Workers, those on their way included."""
        return len(self.free) + len(self.lent) + len(self.held) + self.starting

    @property
    def alive(self) -> int:
        """Workers that live."""
        return self.total - self.starting

    @property
    def extra(self) -> int:
        """Workers beyond the regular ones."""
        return max(0, self.total - self.size)

    def take_free(self) -> W | None:
        """The free worker that is next."""
        if not self.free:
            return None
        return self.free.pop() if self.order == "lifo" else self.free.popleft()

    @property
    def may_grow(self) -> bool:
        """Whether one more worker may be started for somebody who waits."""
        return self.total < self.size + self.overflow

    @property
    def may_queue(self) -> bool:
        """Whether one more may wait, and no worker is to be started for it: `may_wait and not may_grow`."""
        if self.max_waiting is not None and len(self.waiters) >= self.max_waiting:
            return False
        return len(self.lent) + len(self.free) + len(self.held) + self.starting >= self.size + self.overflow

    @property
    def wants_start(self) -> bool:
        """Whether a worker is missing: a regular one, or one for somebody who waits."""
        return self.total < self.size or (len(self.waiters) > self.starting and self.may_grow)

    @property
    def may_wait(self) -> bool:
        """Whether one more may wait."""
        return self.max_waiting is None or len(self.waiters) < self.max_waiting

    def oldest(self) -> Loan | None:
        """Take out who has waited longest."""
        return self.waiters.popitem(last=False)[1] if self.waiters else None

    def leave(self, worker: W) -> Loan | None:
        """Take a worker out of the books, wherever it is; its loan, if it was lent."""
        loan = self.lent.pop(worker, None)
        self.held.pop(worker, None)
        if worker in self.free:
            self.free.remove(worker)
        return loan

    def lent_under(self, token: Any) -> W | None:
        """The worker that is lent under a token."""
        return next((worker for worker, loan in self.lent.items() if loan.token == token), None)
