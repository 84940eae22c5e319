"""The concurrent.futures side: `ProcessPoolExecutor.submit`, one future for each job."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

from sides.protocol import Batches, rate, serve
from sides.tiny_job import WORKERS, square


def pool_tiny(size: int) -> Batches:
    with ProcessPoolExecutor(WORKERS) as executor:
        while True:
            began = time.perf_counter()
            futures = [executor.submit(square, i) for i in range(size)]
            total = sum(future.result() for future in futures)
            yield rate(size, time.perf_counter() - began, total)


if __name__ == "__main__":
    serve({"pool_tiny": pool_tiny})
