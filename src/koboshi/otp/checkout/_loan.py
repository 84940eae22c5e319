"""One checkout, from its request to the worker's return, and the watch over who has asked."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any, cast

from ..._kernel._bonds import bonds_of
from ..._kernel._cell import DEAD, Cell
from ..._kernel._reasons import NOPROC, Down, ExitReason
from ..._kernel._ref import ActorRef
from ..._kernel._wait import Request

__all__ = ["Loan"]


class Loan:
    """Waits for a worker while it has a call to answer, has one afterwards, and tells its pool of its owner's end.

    It is the watch itself, in the owner's bonds: a monitor beside it would cost as much again. The call is owed
    by nobody but the loan. So when the pool ends it has to `give_up` its loans.

    Args:
        token: the owner's name for this checkout.
        owner: who has asked, None when that is no process.
    """

    __slots__ = ("_owner", "_pool", "request", "token", "worker")

    def __init__(self, token: Any, owner: Cell | None, pool: Cell) -> None:
        self.token = token
        self.request: Request | None = None
        self.worker: Cell | None = None
        self._owner = owner
        self._pool = pool
        if owner is not None:
            if owner.state == DEAD:
                self.fire(NOPROC)
                return
            bonds = owner.bonds or bonds_of(owner)
            if bonds.watched_by is None:
                bonds.watched_by = {}
            bonds.watched_by[self] = None

    def fire(self, reason: ExitReason) -> None:
        """The owner has ended: have the pool told, by the one kind of mail that no mailbox drops."""
        owner, self._owner = self._owner, None
        assert owner is not None
        down = Down(cast("Any", self), ActorRef(owner), reason)
        self._pool.post((self._pool.info.on_down, down, None, copy_context(), None))

    def end(self) -> None:
        """Watch the owner no more. What has been told already is for the pool to see through."""
        owner, self._owner = self._owner, None
        if owner is not None and owner.bonds is not None and owner.bonds.watched_by is not None:
            owner.bonds.watched_by.pop(self, None)

    def give_up(self, reason: ExitReason) -> None:
        """The pool has ended: so has the wait, if it is one."""
        self.end()
        if self.request is not None:
            self.request.target_ended(reason)
