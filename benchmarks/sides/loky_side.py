"""The loky side: its reusable executor, one future for each job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from loky import get_reusable_executor  # type: ignore[import-untyped]  # it has no types

from sides.large_jobs import digest, make_array, total
from sides.protocol import Batches, rate, serve
from sides.tiny_job import WORKERS


def _run(size: int, job: Callable[[Any], int], items: Callable[[], Iterable[Any]]) -> Batches:
    with get_reusable_executor(WORKERS) as executor:
        while True:
            began = time.perf_counter()
            futures = [executor.submit(job, item) for item in items()]
            added = sum(future.result() for future in futures)
            yield rate(size, time.perf_counter() - began, added)


def pool_array(size: int) -> Batches:
    array = make_array()
    return _run(size, total, lambda: (array for _ in range(size)))


def pool_cpu(size: int) -> Batches:
    return _run(size, digest, lambda: range(size))


if __name__ == "__main__":
    serve({"pool_array": pool_array, "pool_cpu": pool_cpu})
