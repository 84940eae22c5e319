"""The limit of the rows about processors: plain processes that each do their share, and nothing else."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from multiprocessing.connection import Connection

from sides.large_jobs import digest
from sides.protocol import Batches, RowOfSide, rate


def _serve(connection: Connection) -> None:
    """Answer each range with the sum of its digests, until there are no more."""
    while (numbers := connection.recv()) is not None:
        connection.send(sum(map(digest, numbers)))


def _digests(workers: int, size: int) -> Batches:
    pairs = [multiprocessing.Pipe() for _ in range(workers)]
    processes = [multiprocessing.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in processes:
        process.start()
    try:
        while True:
            began = time.perf_counter()
            for first, (ours, _) in enumerate(pairs):
                ours.send(range(first, size, workers))
            added = sum(ours.recv() for ours, _ in pairs)
            yield rate(size, time.perf_counter() - began, added)
    finally:
        for ours, _ in pairs:
            ours.send(None)
        for process in processes:
            process.join()


ROWS: dict[str, RowOfSide] = {
    "pool_cpu": partial(_digests, 2),
    "scale_1": partial(_digests, 1),
    "scale_2": partial(_digests, 2),
    "scale_4": partial(_digests, 4),
}
