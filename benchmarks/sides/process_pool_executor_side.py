"""The concurrent.futures side: `ProcessPoolExecutor.submit`, one future for each job."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

from sides.large_jobs import digest, make_array, total
from sides.protocol import Batches, rate, serve
from sides.tiny_job import WORKERS, square


def pool_tiny(size: int) -> Batches:
    with ProcessPoolExecutor(WORKERS) as executor:
        while True:
            began = time.perf_counter()
            futures = [executor.submit(square, i) for i in range(size)]
            total = sum(future.result() for future in futures)
            yield rate(size, time.perf_counter() - began, total)


def pool_array(size: int) -> Batches:
    array = make_array()
    with ProcessPoolExecutor(WORKERS) as executor:
        while True:
            began = time.perf_counter()
            futures = [executor.submit(total, array) for _ in range(size)]
            added = sum(future.result() for future in futures)
            yield rate(size, time.perf_counter() - began, added)


def pool_cpu(size: int) -> Batches:
    with ProcessPoolExecutor(WORKERS) as executor:
        while True:
            began = time.perf_counter()
            futures = [executor.submit(digest, i) for i in range(size)]
            added = sum(future.result() for future in futures)
            yield rate(size, time.perf_counter() - began, added)


if __name__ == "__main__":
    serve({"pool_tiny": pool_tiny, "pool_array": pool_array, "pool_cpu": pool_cpu})
