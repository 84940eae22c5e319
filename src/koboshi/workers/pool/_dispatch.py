"""Which worker gets which jobs: decisions only, no I/O, the clock passed in.

Jobs travel in batches: same function, same taker. A worker holds a window of jobs,
about twenty milliseconds of work at the pace it has shown: thousands of tiny jobs a
second need many in flight, a slow one must not have others queued behind it, and a
crash should interrupt little. Outcomes come back in the order of submission, so a
worker's jobs are a queue and need no numbers. Where a worker has several jobs in hand
(`most`) they end in any order: that worker's jobs have numbers, and its window is fixed.

A batch may be bound to a lane: the place of one worker, whoever holds it. It then waits for
that worker alone, and when a place changes hands, until its last holder has no such job left:
jobs of a lane run in order, whatever becomes of processes. Between the lanes and the common
queue the older job goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .._errors import JobQueueFull
from ..process._jobs import Entry, FunctionRef
from ..process._limits import BATCH_BYTES
from ._batch import Batch
from ._numbered_window import NumberedWindow
from ._window import Window

__all__ = ["STRATEGIES", "Assignment", "DispatchStatistics", "Dispatcher", "Strategy"]

Strategy = Literal["least_busy", "round_robin", "by_key"]

STRATEGIES: tuple[Strategy, ...] = ("least_busy", "round_robin", "by_key")

# A queue that is shorter is not gone through for abandoned jobs before it is their turn.
_SWEEP_FROM = 1024

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Assignment(Generic[W]):
    """Send `batch` to `worker`; its packed arguments take `size` bytes, and it may be the worker's last."""

    worker: W
    batch: Batch
    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class DispatchStatistics:
    """Jobs waiting, jobs at workers, workers, and what became of the rest so far."""

    queued: int
    in_flight: int
    workers: int
    done: int
    retried: int
    requeued: int


class Dispatcher(Generic[W]):
    """Assignment of batches to workers of type W.

    Args:
        limit: jobs that may wait or run at a time; more raise JobQueueFull.
        quarantine: workers that one job may kill; after that it is not started again.
        in_turn: give jobs that are in no lane out one by one, to each worker in turn, and not to the least
            busy. A worker that has no room is passed over.
        most: jobs that a worker has in hand at once. With more than one, each outcome comes with the number
            of its job; with one they come in the order of submission.
    """

    def __init__(
        self, limit: int = 65_536, quarantine: int = 3, *, in_turn: bool = False, most: int = 1
    ) -> None:
        self.limit = limit
        self.quarantine = quarantine
        self._in_turn = in_turn
        self._most = most
        # The lane of the worker whose turn was last.
        self._turn = -1
        self._queue: deque[Batch] = deque()
        # Queued batches that are bound to a lane; a lane without any is not in it.
        self._lanes: dict[int, deque[Batch]] = {}
        self._orders = 0
        self._slots: dict[W, Window] = {}
        # Jobs in _queue and _lanes, jobs in all slots.
        self._queued = 0
        self._in_flight = 0
        # Jobs that `abandon` was told of since the queue was last gone through.
        self._abandoned = 0
        self._done = 0
        self._retried = 0
        self._requeued = 0

    def __repr__(self) -> str:
        return f"<Dispatcher queued={self._queued} in_flight={self._in_flight} workers={len(self._slots)}>"

    def statistics(self) -> DispatchStatistics:
        """Return a snapshot."""
        self._sweep()
        return DispatchStatistics(
            self._queued, self._in_flight, len(self._slots), self._done, self._retried, self._requeued
        )

    @property
    def load(self) -> int:
        """Jobs waiting or running."""
        return self._queued + self._in_flight

    def room(self) -> int:
        """How many more jobs there is room for."""
        if self.load >= self.limit:
            self._sweep()
        return self.limit - self.load

    def add_worker(
        self, worker: W, quota: int | None = None, lane: int = 0, now: float = 0.0, first: int = 0
    ) -> None:
        """Offer a worker that is ready, for `quota` jobs, numbered from `first`; it holds `lane` now."""
        if self._most > 1:
            self._slots[worker] = NumberedWindow(quota, lane, now, self._most, first)
        else:
            self._slots[worker] = Window(quota, lane, now)

    def retire(self, worker: W) -> None:
        """Give a worker no more jobs; those that it has stay with it."""
        if worker in self._slots:
            self._slots[worker].retired = True

    def enqueue(self, batch: Batch) -> None:
        """Accept jobs at the end of the queue.

        Raises:
            JobQueueFull: they would exceed the limit; none of them was accepted.
        """
        if self.room() < len(batch.entries):
            raise JobQueueFull(self.limit)
        self._orders += 1
        batch.order = self._orders
        self._queue_of(batch).append(batch)
        self._queued += len(batch.entries)

    def _queue_of(self, batch: Batch) -> deque[Batch]:
        if batch.lane is None:
            return self._queue
        return self._lanes.setdefault(batch.lane, deque())

    def extend(self, batch: Batch, entry: Entry, tag: object) -> None:
        """Add a job to a batch that was enqueued in this loop turn and not assigned yet.

        Raises:
            JobQueueFull: there is no room for it.
        """
        if self.room() <= 0:
            raise JobQueueFull(self.limit)
        assert batch.tags is not None
        batch.entries.append(entry)
        batch.tags.append(tag)
        self._queued += 1

    def set_congested(self, worker: W, congested: bool) -> None:
        """Say whether the worker's socket is full; it gets nothing while it is."""
        if worker in self._slots:
            self._slots[worker].congested = congested

    def assign(self, now: float) -> Iterator[Assignment[W]]:
        """Give out what the workers have room for."""
        while (chosen := self._choose()) is not None:
            queue, worker, slot = chosen
            count = slot.window - slot.in_flight
            if queue is self._queue:
                # Shared out evenly when there is less than everybody could hold.
                count = 1 if self._in_turn else min(count, -(-self._queued // len(self._slots)))
                self._turn = slot.lane
            if slot.quota is not None:
                count = min(count, slot.quota)
            batch, size = self._take(queue, count)
            begin = getattr(batch.taker, "begin", None)
            if begin is not None:
                begin(batch)
                if not batch.entries:
                    continue
            if slot.quota is not None:
                slot.quota -= len(batch.entries)
                slot.retired = slot.quota == 0
            if not slot.in_flight:
                slot.since = now
            slot.add(batch)
            slot.in_flight += len(batch.entries)
            self._in_flight += len(batch.entries)
            yield Assignment(worker, batch, size, slot.retired)

    def _choose(self) -> tuple[deque[Batch], W, Window] | None:
        """Which queue is next, and who gets the job at its head; None when nobody can be given any."""
        best: tuple[deque[Batch], W, Window] | None = None
        if self._slots and self._freshen(self._queue):
            if self._in_turn:
                worker, slot = min(self._slots.items(), key=self._distance)
            else:
                worker, slot = min(self._slots.items(), key=_busyness)
            if not slot.full:
                best = self._queue, worker, slot
        for lane in list(self._lanes):
            queue = self._lanes[lane]
            if not self._freshen(queue):
                del self._lanes[lane]
            elif best is None or queue[0].order < best[0][0].order:
                holder = self._holder_of(lane)
                if holder is not None:
                    best = queue, *holder
        return best

    def _freshen(self, queue: deque[Batch]) -> bool:
        """Drop what nobody waits for from the head of a queue; whether a job is left."""
        while queue:
            self._queued -= queue[0].drop_unwanted()
            if queue[0].entries:
                return True
            queue.popleft()
        return False

    def _distance(self, item: tuple[W, Window]) -> tuple[bool, bool, int]:
        slot = item[1]
        return slot.full, slot.lane <= self._turn, slot.lane

    def _holder_of(self, lane: int) -> tuple[W, Window] | None:
        """The worker that may be given a job of a lane now."""
        holders = [item for item in self._slots.items() if item[1].lane == lane]
        if not holders or holders[-1][1].full or any(slot.keyed for _, slot in holders[:-1]):
            return None
        return holders[-1]

    def _take(self, queue: deque[Batch], count: int) -> tuple[Batch, int]:
        """Remove up to `count` jobs, and about BATCH_BYTES, from the head of a queue."""
        head = queue[0]
        count = min(count, len(head.entries))
        size = 0
        for index, entry in enumerate(head.entries[:count]):
            if type(entry) is not tuple:
                size += len(entry)
                if size > BATCH_BYTES:
                    count = index + 1
                    break
        self._queued -= count
        if count == len(head.entries):
            return queue.popleft(), size
        return head.split(count), size

    def settle(self, worker: W, outcomes: Sequence[Any], now: float) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Match outcomes to the worker's jobs; yields each batch part with its outcomes."""
        slot = self._slots[worker]
        count = len(outcomes)
        if not count:
            return
        slot.observe(count, now)
        slot.in_flight -= count
        self._in_flight -= count
        self._done += count
        yield from slot.match(outcomes)

    def remove_worker(
        self,
        worker: W,
        *,
        running: bool,
        end: object = None,
        retry: bool = True,
        begun: Collection[int] = (),
    ) -> list[Batch]:
        """Forget a worker that died, after `settle` of all that it had finished.

        Untouched jobs go back to the head of their queue. Returns those that were running (`begun` has their
        numbers, where jobs have any), each as a batch of one with `end` added to its `kills`, without those
        queued again because they may be (`retry`), have retries left, and have not killed too many.
        """
        slot = self._slots.pop(worker)
        self._in_flight -= slot.in_flight
        hit, rest = slot.lose(running=running, begun=begun)
        untouched = sum(len(batch.entries) for batch in rest)
        self._requeued += untouched
        self._queued += untouched
        for batch in reversed(rest):
            self._queue_of(batch).appendleft(batch)
        lost: list[Batch] = []
        for batch in reversed(hit):
            batch.kills = (*batch.kills, end)
            again = retry and batch.retries > 0 and len(batch.kills) < self.quarantine
            if again and not batch.drop_unwanted():
                batch.retries -= 1
                self._retried += 1
                self._queued += 1
                self._queue_of(batch).appendleft(batch)
            else:
                lost.insert(0, batch)
        return lost

    def occupation(self) -> tuple[int, int, int]:
        """Workers that take jobs, those of them that have some, and jobs that wait."""
        serving = [slot for slot in self._slots.values() if not slot.retired]
        return len(serving), sum(1 for slot in serving if slot.in_flight), self._queued

    def __contains__(self, worker: W) -> bool:
        return worker in self._slots

    def running(self, worker: W, begun: Collection[int] = ()) -> FunctionRef | None:
        """The function of the worker's oldest job; of those in `begun` where jobs have numbers."""
        batch = self._slots[worker].running(begun)
        return None if batch is None else batch.function

    def busy(self, worker: W) -> bool:
        """Whether the worker has jobs."""
        return worker in self._slots and self._slots[worker].in_flight > 0

    def in_hand(self) -> list[tuple[W, float]]:
        """The workers that have jobs, and since when each could have been at the oldest one."""
        return [(worker, slot.since) for worker, slot in self._slots.items() if slot.in_flight]

    def since(self, worker: W) -> float | None:
        """When a worker could have begun its oldest job; None when it has none."""
        slot = self._slots.get(worker)
        return slot.since if slot is not None and slot.in_flight else None

    def holder(self, taker: Any, tag: object) -> tuple[W, bool] | None:
        """The worker that was given a job, and whether it is the oldest one there."""
        for worker, slot in self._slots.items():
            for place, batch in enumerate(slot.held()):
                if batch.taker is taker and batch.tags is not None and tag in batch.tags:
                    return worker, place == 0 and batch.tags[0] is tag
        return None

    def find(self, taker: Any, tag: object) -> tuple[W, int] | None:
        """The worker that was given a job, and the number of the job; where they have numbers."""
        for worker, slot in self._slots.items():
            number = slot.number(taker, tag) if isinstance(slot, NumberedWindow) else None
            if number is not None:
                return worker, number
        return None

    def abandon(self) -> None:
        """Say that nobody wants the outcome of some job any more; if it is queued, it will not start.

        Looking for that one job would take as long as the queue is, so many are dropped in one go.
        """
        self._abandoned += 1
        if 2 * self._abandoned > max(self._queued, _SWEEP_FROM):
            self._sweep()

    def _sweep(self) -> None:
        """Drop the abandoned jobs from the queue. Batches stay, empty or not: they may yet be extended."""
        if self._abandoned:
            self._abandoned = 0
            for queue in (self._queue, *self._lanes.values()):
                self._queued -= sum(batch.drop_unwanted() for batch in queue)

    def clear_queue(self) -> list[Batch]:
        """Remove and return the jobs that no worker has."""
        batches = [*self._queue]
        self._queue.clear()
        if self._lanes:
            batches += [batch for queue in self._lanes.values() for batch in queue]
            batches.sort(key=lambda batch: batch.order)
            self._lanes.clear()
        self._queued = 0
        return batches

    def clear(self) -> list[Batch]:
        """Remove and return everything that has no outcome: queued and at workers; forget the workers."""
        batches = [batch for slot in self._slots.values() for batch in slot.held()]
        self._slots.clear()
        self._in_flight = 0
        return batches + self.clear_queue()


def _busyness(item: tuple[Any, Window]) -> tuple[bool, float]:
    return item[1].busyness
