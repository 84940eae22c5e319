"""`map` of executors: a job for each item, or for a chunk of them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

__all__ = ["ChunkedExecutor"]

R = TypeVar("R")


class ChunkedExecutor(concurrent.futures.Executor):
    """An executor whose `map` can put several items into one job."""

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[R]:
        """An iterator over `fn(*items)` for each set of items, in their order, run in workers.

        Args:
            timeout: seconds from this call after which waiting for a result is a `TimeoutError`.
            chunksize: items that make up one job. With 1, the default, a crash costs one item; more
                are faster for functions of microseconds, and a crash costs them all.
            options: what later Pythons' `map` takes as well.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize must be >= 1, got {chunksize!r}")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **options)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return _each(super().map(partial(_run_chunk, fn), chunks, timeout=timeout, **options))


def _run_chunk(fn: Callable[..., R], chunk: list[tuple[Any, ...]]) -> list[R]:
    return [fn(*items) for items in chunk]


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _each(results: Iterator[list[R]]) -> Iterator[R]:
    """The items of all lists; none is held on to once it has been given out."""
    for result in results:
        result.reverse()
        while result:
            yield result.pop()
