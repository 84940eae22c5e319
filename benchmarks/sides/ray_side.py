"""The ray side: an actor of its own process, called from the driver."""

from __future__ import annotations

import time

import ray  # type: ignore[import-not-found, unused-ignore]  # no part of the development install

from sides.protocol import Batches, rate, serve


@ray.remote  # type: ignore[untyped-decorator, unused-ignore]
class Counter:
    """Adds up and answers with the sum."""

    def __init__(self, value: int) -> None:
        self.value = value

    def add(self, n: int) -> int:
        self.value += n
        return self.value


def xcall(size: int) -> Batches:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        counter = Counter.remote(0)  # type: ignore[attr-defined, unused-ignore]
        while True:
            total = 0
            began = time.perf_counter()
            for _ in range(size):
                total += ray.get(counter.add.remote(1))
            seconds = time.perf_counter() - began
            ray.get(counter.add.remote(-size))  # from 0 again
            yield rate(size, seconds, total)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    serve({"xcall": xcall})
