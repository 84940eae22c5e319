"""The multiprocessing side: `Pool.imap_unordered` with a chunk size of 1."""

from __future__ import annotations

import multiprocessing
import time

from sides.large_jobs import digest, make_array, total
from sides.protocol import Batches, rate, serve
from sides.tiny_job import WORKERS, square


def pool_tiny(size: int) -> Batches:
    with multiprocessing.Pool(WORKERS) as pool:
        while True:
            began = time.perf_counter()
            total = sum(pool.imap_unordered(square, range(size), chunksize=1))
            yield rate(size, time.perf_counter() - began, total)


def pool_array(size: int) -> Batches:
    array = make_array()
    with multiprocessing.Pool(WORKERS) as pool:
        while True:
            began = time.perf_counter()
            added = sum(pool.imap_unordered(total, (array for _ in range(size)), chunksize=1))
            yield rate(size, time.perf_counter() - began, added)


def pool_cpu(size: int) -> Batches:
    with multiprocessing.Pool(WORKERS) as pool:
        while True:
            began = time.perf_counter()
            added = sum(pool.imap_unordered(digest, range(size), chunksize=1))
            yield rate(size, time.perf_counter() - began, added)


if __name__ == "__main__":
    serve({"pool_tiny": pool_tiny, "pool_array": pool_array, "pool_cpu": pool_cpu})
