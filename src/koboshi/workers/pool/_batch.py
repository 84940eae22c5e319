"""Jobs that travel together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..process._jobs import Entry, FunctionRef

__all__ = ["Batch"]


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
    # The place among the workers that alone may run these jobs, in order; None for any worker.
    lane: int | None = None
    # Grows with each batch that is queued; given by the dispatcher.
    order: int = 0

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
        return Batch(
            self.function, entries, self.taker, tags, self.retries, self.kills, self.lane, self.order
        )

    def singles(self) -> list[Batch]:
        """Its jobs as batches of one, which share nothing with this one."""
        tags: list[Any] | list[None] = [None] * len(self.entries) if self.tags is None else self.tags
        return [
            Batch(
                self.function,
                [entry],
                self.taker,
                None if self.tags is None else [tag],
                self.retries,
                self.kills,
                self.lane,
                self.order,
            )
            for entry, tag in zip(self.entries, tags, strict=True)
        ]
