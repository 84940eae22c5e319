"""Where outcomes go: to the callers of single jobs and messages, or to the iterator of a map.

A taker has `deliver(batch, outcomes)`, and `wants(tag)` for jobs that have somebody waiting. It may have
`begin(batch)`, which is called when a worker is given these jobs, and may take some out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from ..._kernel._errors import ActorExited
from ..._kernel._reasons import Crashed
from ..._kernel._reply import ReplyTo
from ...wire._buffers import BufferedPickle
from .._errors import WorkerCrashed
from ..process._jobs import Entry, FunctionRef, encode_arguments, encode_items
from ..process._outcomes import Failure, decode, is_failure, set_remote_cause
from ._batch import Batch
from ._host import HostedExit

__all__ = ["CallTaker", "MapTaker", "MessageTaker", "OrderedTaker", "Progress", "Results"]

R = TypeVar("R")

_CHUNK = 512
# Bytes in shared memory that the jobs of one map may hold, if that is more than four jobs.
_SHARED_BYTES = 256 * 1024 * 1024
# Jobs of one map that may hold a descriptor each.
_SHARED_JOBS = 64


class CallTaker:
    """Single calls: a batch's tags are their futures."""

    def wants(self, future: asyncio.Future[Any]) -> bool:
        """Whether the caller still waits."""
        return not future.done()

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Settle each future that still wants its outcome."""
        assert batch.tags is not None
        for future, outcome in zip(batch.tags, outcomes, strict=True):
            if future.done():
                continue
            value = decode(outcome)
            if type(value) is Failure:
                future.set_exception(value.error)
            else:
                future.set_result(value)


class MessageTaker:
    """Messages to actors: a batch's tags are (message, reply), and the reply of a cast is None.

    Args:
        target: how the pool prints.
        report: told of each actor that ended in a message: message, error, whether it was a worker's end.
    """

    def __init__(self, target: Callable[[], str], report: Callable[[str, BaseException, bool], None]) -> None:
        self._target = target
        self._report = report

    def wants(self, tag: tuple[str, ReplyTo[Any] | None]) -> bool:
        """Whether it is a cast, or a call whose caller still waits."""
        return tag[1] is None or tag[1].wanted

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Answer each caller; the end of the actor is `ActorExited`, as it would be in this process."""
        assert batch.tags is not None
        for (message, reply), outcome in zip(batch.tags, outcomes, strict=True):
            value = decode(outcome)
            if type(value) is HostedExit:
                error: Exception = self._exited(value)
            elif type(value) is Failure:
                error = value.error
                if isinstance(error, WorkerCrashed):
                    error = ActorExited(self._target(), message, Crashed(error), maybe_executed=True)
                elif reply is None:
                    self._report(message, error, True)
            else:
                if reply is not None:
                    reply.send(value)
                continue
            if reply is not None:
                reply.fail(error)

    def _exited(self, end: HostedExit) -> ActorExited:
        if isinstance(end.reason, Crashed):
            set_remote_cause(end.reason.error, end.trace)
            self._report(end.message, end.reason.error, False)
        return ActorExited(self._target(), end.message, end.reason, maybe_executed=True)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a map or a stream is.

    Attributes:
        done: items whose job is over, those that failed included.
        failed: those that raised, crashed, or could not be sent.
        total: items in all; None while that is unknown.
    """

    done: int
    failed: int
    total: int | None


class MapTaker(Generic[R]):
    """One map: pulls items as results are consumed, keeps results until they are.

    Dropped by the user, it stops pulling once `ahead` results lie here, and is then
    collected: the pool refers to it weakly.
    """

    def __init__(
        self,
        function: FunctionRef,
        items: Iterator[Any],
        limit: int,
        ahead: int,
        retries: int,
        submit: Callable[[Batch], None],
        room: Callable[[], int],
    ) -> None:
        self.ready: deque[Any] = deque()
        self.waiter: asyncio.Future[None] | None = None
        # Jobs submitted and not delivered. With `held()` never above `ahead`.
        self.out = 0
        self.exhausted = False
        self.name = function.name
        self._function = function
        self._items = items
        self._limit = limit
        self._ahead = ahead
        self._retries = retries
        self._submit = submit
        self._room = room
        # Items to encode in one go. It grows from one item, so that a map over gigabytes is found out by it.
        self._chunk = 1
        self._done = 0
        self._failed = 0
        # How many items there are, where the iterable could tell.
        self.total: int | None = None

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._done, self._failed, self._done + self.out if self.exhausted else self.total)

    def count(self, outcomes: Sequence[Any]) -> None:
        """Note outcomes for `progress`."""
        self._done += len(outcomes)
        # Failures are rare: one look at the types is cheaper than one at each outcome.
        kinds = set(map(type, outcomes))
        if tuple in kinds or Failure in kinds:
            self._failed += sum(type(each) is Failure or is_failure(each) for each in outcomes)

    def free(self) -> int:
        """How many more items may be taken."""
        return min(self._ahead - self.out - self.held(), self._room())

    def wants(self, tag: object) -> bool:
        """A map wants all of its results."""
        return True

    def held(self) -> int:
        """Outcomes that lie here."""
        return len(self.ready)

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        """Keep outcomes for the consumer; they are decoded when it takes them."""
        self.count(outcomes)
        self.out -= len(outcomes)
        self.ready.extend(outcomes)
        self.wake()

    def wake(self) -> None:
        """Let a waiting consumer look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def close(self, error: Exception | None = None) -> None:
        """Pull no more items; `error` stands for those that will not be pulled."""
        if error is not None and not self.exhausted:
            self.put_last(Failure(error))
        self.exhausted = True
        self.wake()

    def put_last(self, failure: Failure) -> None:
        """Keep a failure that stands behind all jobs submitted so far."""
        self.ready.append(failure)

    def refill(self) -> None:
        """Submit as many more jobs as `ahead` and the pool's queue have room for."""
        while not self.exhausted:
            room = min(self.free(), self._chunk)
            if room <= 0 or (room < self._chunk and self.out > self._ahead // 2):
                return
            items: list[Any] = []
            try:
                items.extend(islice(self._items, room))
            except Exception as error:
                self._send(items)
                self.close(error)
            else:
                self._send(items)
                if len(items) < room:
                    self.close()

    def _adapt(self, entries: list[Entry]) -> None:
        """Encode more items at a time; or fewer, and fewer ahead, when they are large."""
        sizes = [len(entry) for entry in entries if type(entry) is BufferedPickle]
        if sizes:
            self._chunk = 1
            self._ahead = min(self._ahead, _SHARED_JOBS, max(4, _SHARED_BYTES * len(sizes) // sum(sizes)))
        else:
            self._chunk = min(_CHUNK, 8 * self._chunk, self._ahead)

    def _send(self, items: list[Any]) -> None:
        entries = self._encode(items)
        if entries:
            self._adapt(entries)
            self.out += len(entries)
            self._submit(Batch(self._function, entries, self, None, self._retries))

    def _encode(self, items: list[Any]) -> list[Entry]:
        try:
            return encode_items(self._function, items, self._limit)
        except Exception:
            return list(self._encode_singly(items))

    def _encode_singly(self, items: list[Any]) -> Iterator[Entry]:
        """An item that cannot be sent costs itself only."""
        for item in items:
            try:
                yield encode_arguments(self._function, (item,), {}, self._limit)
            except Exception as error:
                failure = Failure(error)
                self.count((failure,))
                self.ready.append(failure)
                self.wake()


class OrderedTaker(MapTaker[R]):
    """A map that yields results in the order of its items: those behind a slow one wait here."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Outcomes behind the first that is missing, by number. `ready` holds those before it.
        self._early: dict[int, Any] = {}
        # Numbers of the next item to send, and of the first outcome that is missing.
        self._sent = 0
        self._missing = 0

    def held(self) -> int:
        return len(self.ready) + len(self._early)

    def deliver(self, batch: Batch, outcomes: Sequence[Any]) -> None:
        assert batch.tags is not None
        self.count(outcomes)
        self.out -= len(outcomes)
        self._early.update(zip(batch.tags, outcomes, strict=True))
        self._advance()

    def put_last(self, failure: Failure) -> None:
        self._early[self._sent] = failure
        self._sent += 1
        self._advance()

    def _advance(self) -> None:
        while self._missing in self._early:
            self.ready.append(self._early.pop(self._missing))
            self._missing += 1
        if self.ready:
            self.wake()

    def _send(self, items: list[Any]) -> None:
        try:
            entries = encode_items(self._function, items, self._limit)
        except Exception:
            for item in items:
                try:
                    entry = encode_arguments(self._function, (item,), {}, self._limit)
                except Exception as error:
                    failure = Failure(error)
                    self.count((failure,))
                    self.put_last(failure)
                else:
                    self._send_entries([entry])
        else:
            self._send_entries(entries)

    def _send_entries(self, entries: list[Entry]) -> None:
        if not entries:
            return
        self._adapt(entries)
        self.out += len(entries)
        numbers: list[Any] = list(range(self._sent, self._sent + len(entries)))
        self._sent += len(entries)
        self._submit(Batch(self._function, entries, self, numbers, self._retries))


class Results(Generic[R]):
    """The results of a map, as they come. A failed job raises; iterate on to go on."""

    __slots__ = ("_ready", "_taker")

    def __init__(self, taker: MapTaker[R]) -> None:
        self._taker = taker
        self._ready = taker.ready

    def __repr__(self) -> str:
        return f"<Results ready={len(self._ready)} out={self._taker.out}>"

    def __aiter__(self) -> Results[R]:
        return self

    async def __anext__(self) -> R:
        """Return the next result; raise what its job raised.

        Raises:
            StopAsyncIteration: every item has had its result.
        """
        if not self._ready:
            await self._wait()
        outcome = self._ready.popleft()
        if type(outcome) is tuple:
            outcome = decode(outcome)
        if type(outcome) is Failure:
            raise outcome.error
        return outcome  # type: ignore[no-any-return]

    @property
    def progress(self) -> Progress:
        """How many jobs are over, how many of them failed, and of how many."""
        return self._taker.progress()

    async def _next(self) -> Any:
        """The next result, or the error of its job, as a value."""
        if not self._ready:
            await self._wait()
        outcome = decode(self._ready.popleft())
        return outcome.error if type(outcome) is Failure else outcome

    async def _wait(self) -> None:
        taker = self._taker
        while not self._ready:
            taker.refill()
            if self._ready:
                return
            if taker.exhausted and not taker.out:
                raise StopAsyncIteration
            taker.waiter = asyncio.get_running_loop().create_future()
            try:
                await taker.waiter
            finally:
                taker.waiter = None
