"""Which worker gets which jobs: decisions only, no I/O, the clock passed in.

Jobs travel in batches: same function, same taker. A worker holds a window of jobs,
about four milliseconds of work at the pace it has shown: thousands of tiny jobs a
second need many in flight, a slow one must not have others queued behind it, and a
crash should interrupt little. Outcomes come back in the order of submission, so a
worker's jobs are a queue and need no numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ._errors import JobQueueFull
from ._jobs import Entry, FunctionRef
from ._limits import BATCH_BYTES

__all__ = ["Assignment", "Batch", "DispatchStatistics", "Dispatcher"]

WINDOW_SECONDS = 0.004
"""Seconds of work that a worker may hold."""
WINDOW_MAX = 1024
"""Jobs that a worker may hold, however small."""
_PREFETCH_BELOW = 0.020
# A queue that is shorter is not gone through for abandoned jobs before it is their turn.
_SWEEP_FROM = 1024

W = TypeVar("W")


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs of one function for one taker.

    `tags` runs parallel to `entries` and belongs to the taker (futures, indices), or is
    None when it does not tell its jobs apart.
    """

    function: FunctionRef
    entries: list[Entry]
    taker: Any  # whoever is told of outcomes; opaque here
    tags: list[Any] | None = None
    # Times that a job may be started again after a crash that it was in.
    retries: int = 0
    # How each worker ended that ran it; then it is one job, whose batch is never joined with others.
    kills: tuple[Any, ...] = ()

    def drop_unwanted(self) -> int:
        """Remove the jobs whose outcome nobody waits for any more; returns how many."""
        if self.tags is None:
            return 0
        wants = self.taker.wants
        kept = [pair for pair in zip(self.tags, self.entries, strict=True) if wants(pair[0])]
        dropped = len(self.entries) - len(kept)
        if dropped:
            self.tags = [tag for tag, _ in kept]
            self.entries = [entry for _, entry in kept]
        return dropped

    def split(self, count: int) -> Batch:
        """Remove the first `count` jobs and return them as a batch of their own."""
        tags = None
        if self.tags is not None:
            tags, self.tags = self.tags[:count], self.tags[count:]
        entries, self.entries = self.entries[:count], self.entries[count:]
        return Batch(self.function, entries, self.taker, tags, self.retries, self.kills)


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


class _Slot:
    """What the dispatcher knows of one worker."""

    __slots__ = ("batches", "congested", "in_flight", "pace", "quota", "retired", "since", "window")

    def __init__(self, quota: int | None) -> None:
        self.batches: deque[Batch] = deque()
        # Jobs that it may still be given; None for any number.
        self.quota = quota
        # Sum of len(batch.entries) over `batches`.
        self.in_flight = 0
        self.congested = False
        self.retired = False
        self.window = 1
        # Seconds per job, smoothed; 0 while unknown.
        self.pace = 0.0
        # When the job at the head could have begun, at the earliest.
        self.since = 0.0

    def observe(self, count: int, now: float) -> None:
        """Adapt to `count` outcomes at `now`: fall at once, rise by averaging."""
        latest = (now - self.since) / count
        self.since = now
        self.pace = max(latest, 0.5 * self.pace + 0.5 * latest)
        self.window = min(WINDOW_MAX, 1 + int(WINDOW_SECONDS / max(self.pace, 1e-7)))
        if self.pace >= _PREFETCH_BELOW:
            self.window = 1
        elif self.window == 1:
            # The next job waits at the worker, which saves it a round trip.
            self.window = 2


class Dispatcher(Generic[W]):
    """Least-busy assignment of batches to workers of type W.

    Args:
        limit: jobs that may wait or run at a time; more raise JobQueueFull.
        quarantine: workers that one job may kill; after that it is not started again.
    """

    def __init__(self, limit: int = 65_536, quarantine: int = 3) -> None:
        self.limit = limit
        self.quarantine = quarantine
        self._queue: deque[Batch] = deque()
        self._slots: dict[W, _Slot] = {}
        # Jobs in _queue, jobs in all slots.
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

    def add_worker(self, worker: W, quota: int | None = None) -> None:
        """Offer a worker that is ready, for `quota` jobs."""
        self._slots[worker] = _Slot(quota)

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
        self._queue.append(batch)
        self._queued += len(batch.entries)

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
        """Give out what the workers have room for, the least busy first."""
        while self._queue and self._slots:
            self._queued -= self._queue[0].drop_unwanted()
            if not self._queue[0].entries:
                self._queue.popleft()
                continue
            worker, slot = min(self._slots.items(), key=_busyness)
            room = slot.window - slot.in_flight
            if slot.congested or slot.retired or room <= 0:
                return
            # Shared out evenly when there is less than everybody could hold.
            share = -(-self._queued // len(self._slots))
            count = min(room, share) if slot.quota is None else min(room, share, slot.quota)
            batch, size = self._take(count)
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
            slot.batches.append(batch)
            slot.in_flight += len(batch.entries)
            self._in_flight += len(batch.entries)
            yield Assignment(worker, batch, size, slot.retired)

    def _take(self, count: int) -> tuple[Batch, int]:
        """Remove up to `count` jobs, and about BATCH_BYTES, from the head of the queue."""
        head = self._queue[0]
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
            return self._queue.popleft(), size
        return head.split(count), size

    def settle(self, worker: W, outcomes: Sequence[Any], now: float) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Match outcomes to the worker's oldest jobs; yields each batch part with its outcomes."""
        slot = self._slots[worker]
        count = len(outcomes)
        if not count:
            return
        slot.observe(count, now)
        slot.in_flight -= count
        self._in_flight -= count
        self._done += count
        start = 0
        while start < count:
            head = slot.batches[0]
            size = len(head.entries)
            if size <= count - start:
                slot.batches.popleft()
                part = head
            else:
                size = count - start
                part = head.split(size)
            yield part, outcomes if size == count else outcomes[start : start + size]
            start += size

    def remove_worker(
        self, worker: W, *, running: bool, end: object = None, retry: bool = True
    ) -> Batch | None:
        """Forget a worker that died, after `settle` of all that it had finished.

        Untouched jobs go back to the head of the queue. Returns the job that was running
        as a batch of one, with `end` added to its `kills`, unless it was queued again because
        it may be (`retry`), has retries left, and has not killed too many.
        """
        slot = self._slots.pop(worker)
        self._in_flight -= slot.in_flight
        hit: Batch | None = None
        if running and slot.batches:
            head = slot.batches[0]
            hit = head.split(1)
            if not head.entries:
                slot.batches.popleft()
        untouched = sum(len(batch.entries) for batch in slot.batches)
        self._requeued += untouched
        self._queued += untouched
        self._queue.extendleft(reversed(slot.batches))
        if hit is None:
            return None
        hit.kills = (*hit.kills, end)
        again = retry and hit.retries > 0 and len(hit.kills) < self.quarantine
        if again and not hit.drop_unwanted():
            hit.retries -= 1
            self._retried += 1
            self._queued += 1
            self._queue.appendleft(hit)
            return None
        return hit

    def __contains__(self, worker: W) -> bool:
        return worker in self._slots

    def running(self, worker: W) -> FunctionRef | None:
        """The function of the worker's oldest job."""
        batches = self._slots[worker].batches
        return batches[0].function if batches else None

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
            for place, batch in enumerate(slot.batches):
                if batch.taker is taker and batch.tags is not None and tag in batch.tags:
                    return worker, place == 0 and batch.tags[0] is tag
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
            self._queued -= sum(batch.drop_unwanted() for batch in self._queue)

    def clear_queue(self) -> list[Batch]:
        """Remove and return the jobs that no worker has."""
        batches = list(self._queue)
        self._queue.clear()
        self._queued = 0
        return batches

    def clear(self) -> list[Batch]:
        """Remove and return everything that has no outcome: queued and at workers; forget the workers."""
        batches = [batch for slot in self._slots.values() for batch in slot.batches]
        self._slots.clear()
        self._in_flight = 0
        return batches + self.clear_queue()


def _busyness(item: tuple[Any, _Slot]) -> tuple[bool, float]:
    slot = item[1]
    full = slot.congested or slot.retired or slot.in_flight >= slot.window
    return full, slot.in_flight * max(slot.pace, 1e-6)
