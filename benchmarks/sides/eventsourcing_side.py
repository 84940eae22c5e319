"""The side of the package `eventsourcing`, with its SQLite persistence: load, decide, save, for each command."""

from __future__ import annotations

import os
import tempfile
import time
from uuid import UUID

# No part of the development install.
from eventsourcing.application import Application  # type: ignore[import-not-found, unused-ignore]
from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found, unused-ignore]

from durable_rows import AGGREGATES
from sides.protocol import Batches, RowOfSide, rate, serve


class Sum(Aggregate):  # type: ignore[misc, unused-ignore]
    """Adds up what it is told, by events."""

    def __init__(self) -> None:
        self.total = 0

    @event("Added")  # type: ignore[untyped-decorator, unused-ignore]
    def add(self, n: int) -> None:
        self.total += n


class Sums(Application[UUID]):  # type: ignore[misc, unused-ignore]
    """Holds aggregates in its cache, as its documentation advises."""

    def add(self, id: UUID, n: int) -> int:
        aggregate: Sum = self.repository.get(id)
        aggregate.add(n)
        self.save(aggregate)
        return aggregate.total


def events(size: int) -> Batches:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": f"{folder}/events.db",
            "AGGREGATE_CACHE_MAXSIZE": "100000",
            "AGGREGATE_CACHE_FASTFORWARD": "n",
        }
        sums = Sums()
        ids: list[UUID] = []
        for _ in range(AGGREGATES):
            aggregate = Sum()
            sums.save(aggregate)
            ids.append(aggregate.id)
        while True:
            began = time.perf_counter()
            done = 0
            for _ in range(size // AGGREGATES):
                for id in ids:
                    done += sums.add(id, 1) > 0
            yield rate(size, time.perf_counter() - began, done)


ROWS: dict[str, RowOfSide] = {"events": events}

if __name__ == "__main__":
    serve(ROWS)
