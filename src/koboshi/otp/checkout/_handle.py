"""`checkout_pool`: how workers are borrowed, from any node."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from ..._kernel._actor import Actor
from ..._kernel._calls import DEFAULT_DEADLINE, given_up, own_task, promised
from ..._kernel._cell import DOOMED, Cell
from ..._kernel._errors import CallError, UsageError
from ..._kernel._ref import ActorRef
from .._answering import expect
from .._target import ref_to
from ._outcomes import CheckoutStatistics
from ._pool import CheckoutPool, at_hand

__all__ = ["Checkout", "Checkouts", "checkout_pool"]

AA = TypeVar("AA", bound=Actor)
P = ParamSpec("P")
R = TypeVar("R")

_numbers = itertools.count(1)


class Checkout(Generic[AA]):
    """A worker to come: `await` it and give it back by `checkin`, or use it as an `async with`."""

    __slots__ = ("_block", "_lender", "_pool", "_ref", "_timeout", "_token")

    # What the last of its checkouts went by; there are both from the first one on.
    _lender: Cell
    _token: Any

    def __init__(self, pool: Checkouts[AA], timeout: float | None, block: bool) -> None:
        self._pool = pool
        self._timeout = timeout
        self._block = block
        self._ref: ActorRef[AA] | None = None

    def __await__(self) -> Generator[Any, Any, ActorRef[AA]]:
        return self._take().__await__()

    async def __aenter__(self) -> ActorRef[AA]:
        if self._ref is not None:
            raise UsageError("this checkout is in use; make one for each `async with`: pool.checkout()")
        self._ref = ref = await self._take()
        return ref

    async def _take(self) -> ActorRef[AA]:
        self._lender = cell = self._pool._ref._target()
        # Each time another one: a block gives back what was lent to it, never what was lent to others since.
        self._token = token = (cell.node.id, next(_numbers))
        here, current = at_hand(cell), cell.node.current
        if here is None or (current is not None and current.state == DOOMED):
            return await self._ask(token, current)
        cell.node.inline_left -= 1
        worker = here.lend_free(current, token)
        if worker is not None:
            return worker
        if not (self._block and here.may_queue):
            return await self._ask(token, current)
        request = promised(cell, CheckoutPool.checkout, self._timeout)
        try:
            here.queue_up(request, current, token)
            later: ActorRef[AA] = await request.outcome(own_task(current, cell.node), cell.node.loop)
            return later
        except BaseException:
            self._cancel(token)
            raise
        finally:
            given_up(request)

    async def _ask(self, token: Any, current: Cell | None) -> ActorRef[AA]:
        """Have the pool lend a worker in a turn of its own."""
        expect(self._pool._ref, CheckoutPool)
        owner: ActorRef[Any] | None = None if current is None else ActorRef(current)
        try:
            place = self._pool._ref.within(self._timeout)
            return await place.call(CheckoutPool.checkout, owner, token, self._block)
        except BaseException:
            self._cancel(token)
            raise

    def _cancel(self, token: Any) -> None:
        """A worker may be on its way to us, or come while nobody looks."""
        with contextlib.suppress(CallError):
            self._pool._ref.cast(CheckoutPool.cancel, token)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ref, self._ref = self._ref, None
        if ref is None:
            return
        here = at_hand(self._lender)
        if here is None or not here.take_back(ref._cell, self._token):
            self._pool._checkin(ref, self._token)


class Checkouts(Generic[AA]):
    """Borrows workers of a pool; made by `checkout_pool`. It keeps an address, nothing else."""

    __slots__ = ("_cls", "_ref")

    def __init__(self, ref: ActorRef[CheckoutPool], cls: type[AA]) -> None:
        self._ref = ref
        self._cls = cls

    def checkout(self, timeout: float | None = DEFAULT_DEADLINE, *, block: bool = True) -> Checkout[AA]:
        """A worker for the current process alone: `async with pool.checkout() as worker`.

        It comes back when the block ends, and when the process ends.

        Args:
            timeout: seconds to wait for one, 5 by default; None waits for ever.
            block: False raises `NoWorkerFree` instead of waiting.

        Raises:
            CallTimeout: there was none in time.
            NoWorkerFree, TooManyWaiting: there is none, and no waiting.
            StartError: the one that was started for this caller failed.
            CallError: the pool cannot be asked.
        """
        given: object = timeout
        if given is not None and not (isinstance(given, int | float) and given >= 0):
            raise UsageError(f"timeout takes seconds >= 0 or None, got {timeout!r}")
        return Checkout(self, timeout, block)

    def checkin(self, worker: ActorRef[Any]) -> None:
        """Give a worker back; one that is not lent, or dead, is no error.

        Raises:
            UsageError: it is no ref.
        """
        given: object = worker
        if not isinstance(given, ActorRef):
            raise UsageError(f"checkin takes the worker that checkout gave, a ref; got {worker!r}")
        here = at_hand(self._ref._target())
        if here is None or not here.take_back(worker._target(), None):
            self._checkin(worker, None)

    def _checkin(self, worker: ActorRef[Any], token: Any) -> None:
        # A pool that is gone has taken its workers with it.
        with contextlib.suppress(CallError):
            self._ref.cast(CheckoutPool.checkin, worker, token)

    async def transaction(
        self,
        fn: Callable[Concatenate[ActorRef[AA], P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """`await fn(worker, *args)` with a worker that comes back afterwards. Raises as `checkout`."""
        async with self.checkout() as worker:
            return await fn(worker, *args, **kwargs)

    async def status(self) -> CheckoutStatistics:
        """Figures of the pool."""
        expect(self._ref, CheckoutPool)
        return await self._ref.call(CheckoutPool.status)

    def __repr__(self) -> str:
        return f"<Checkouts of {self._cls.__name__} at {self._ref!r}>"


def checkout_pool(where: ActorRef[CheckoutPool] | Any, cls: type[AA]) -> Checkouts[AA]:
    """How workers are borrowed, by a pool's ref or registered name: `checkout_pool("db", Connection)`."""
    return Checkouts(ref_to(where, CheckoutPool), cls)
