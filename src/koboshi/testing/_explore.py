"""Exploring: one test under many orders of turns, each made by a seed and made again by it.

Whose turn is next is drawn among all that are ready, one message is handled per turn, and no call takes
the shortcut over its caller's stack. The mail of each actor stays in the order of its arrival, so what one
sender sends to one receiver keeps its order.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec

from .._kernel._cell import DOOMED, Cell
from .._kernel._errors import KoboshiError, UsageError
from .._kernel._message import describe
from .._kernel._node import TICK_SECONDS, this_node
from ._time import VirtualLoop

P = ParamSpec("P")

SEED_VARIABLE = "KOBOSHI_SEED"


class NotDeterministic(KoboshiError):
    """One seed has led to two different orders of turns.

    Attributes:
        seed: the seed.
        turn: the number of the first turn that differs, from 0.
        first, second: what it was in each run, None where that run was over.
    """

    def __init__(self, seed: int, turn: int, first: str | None, second: str | None) -> None:
        super().__init__(
            f"the test is not deterministic: with seed {seed} turn {turn} was {first or 'none'} "
            f"and then {second or 'none'}; look for real time, threads, or sets whose order changes"
        )
        self.seed = seed
        self.turn = turn
        self.first = first
        self.second = second


class Livelock(KoboshiError):
    """A test took more turns than `max_turns`.

    Attributes:
        seed: the seed.
        turns: the limit.
    """

    def __init__(self, seed: int, turns: int) -> None:
        super().__init__(f"with seed {seed} the test is not over after {turns:,} turns")
        self.seed = seed
        self.turns = turns


class SeededQueue:
    """A run queue that draws whose turn it is, and a clock that draws when a tick is over."""

    def __init__(self, seed: int, max_turns: int) -> None:
        self.trace: list[str] = []
        self.exceeded = asyncio.Event()
        self._draw = random.Random(seed)
        self._max_turns = max_turns
        self._cells: list[Cell] = []
        self._now = 0.0

    def append(self, cell: Cell) -> None:
        self._cells.append(cell)

    def popleft(self) -> Cell:
        cells = self._cells
        index = self._draw.randrange(len(cells))
        cell = cells.pop(index)
        self.trace.append(_turn(cell))
        if len(self.trace) > self._max_turns:
            self.exceeded.set()
        return cell

    def __len__(self) -> int:
        return len(self._cells)

    def clock(self) -> float:
        # Between one and eight turns to a tick, so that asyncio's own callbacks come in between anywhere.
        self._now += TICK_SECONDS * self._draw.choice((0.124, 0.3, 0.6))
        return self._now


def _turn(cell: Cell) -> str:
    who = f"{cell.info.name}#{cell.id}"
    if cell.state == DOOMED:
        return f"{who} ends"
    if cell.task is not None:
        return f"{who} goes on"
    return f"{who} {describe(cell.mailbox[0][0])}" if cell.mailbox else who


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a test under one seed.

    Attributes:
        seed: the seed.
        trace: whose turn it was for what, a line for each.
        error: what the test raised, None when it passed.
    """

    seed: int
    trace: tuple[str, ...]
    error: BaseException | None


def run_seed(test: Callable[[], Coroutine[Any, Any, Any]], seed: int, *, max_turns: int = 1_000_000) -> Run:
    """Run `test()` once in virtual time, with its turns in the order of `seed`."""
    trace: list[str] = []

    async def main() -> None:
        node = this_node()
        queue = SeededQueue(seed, max_turns)
        node.schedule_by(queue, queue.clock, messages_per_turn=1, inline_calls=0)
        body = asyncio.ensure_future(test())
        limit = asyncio.ensure_future(queue.exceeded.wait())
        try:
            await asyncio.wait((body, limit), return_when=asyncio.FIRST_COMPLETED)
            if not body.done():
                raise Livelock(seed, max_turns)
            trace.extend(queue.trace)
            body.result()
        finally:
            for each in (body, limit):
                each.cancel()
            await asyncio.gather(body, limit, return_exceptions=True)

    # Restart delays and whatever the test itself draws come from the seed as well.
    state = random.getstate()
    random.seed(seed)
    error: BaseException | None = None
    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())
    except Exception as raised:
        error = raised
    finally:
        random.setstate(state)
    return Run(seed, tuple(trace), error)


def replay(test: Callable[[], Coroutine[Any, Any, Any]], seed: int, *, max_turns: int = 1_000_000) -> Run:
    """Run `test()` twice with one seed and return the run.

    Raises:
        NotDeterministic: the two orders of turns differ.
    """
    first = run_seed(test, seed, max_turns=max_turns)
    second = run_seed(test, seed, max_turns=max_turns)
    if first.trace != second.trace:
        both = zip(first.trace, second.trace, strict=False)
        same = next((number for number, (a, b) in enumerate(both) if a != b), None)
        turn = min(len(first.trace), len(second.trace)) if same is None else same
        raise NotDeterministic(seed, turn, _at(first.trace, turn), _at(second.trace, turn))
    return first


def _at(trace: tuple[str, ...], turn: int) -> str | None:
    return trace[turn] if turn < len(trace) else None


def explore(
    *, seeds: int = 200, max_turns: int = 1_000_000
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Make a plain test of an async one, which runs under `seeds` orders of turns, in virtual time.

    The first failure is raised as it is, with a note that has the seed and how to run it again. With
    KOBOSHI_SEED in the environment only that seed is run.

    Args:
        seeds: how many orders.
        max_turns: turns after which one run fails with `Livelock`.
    """
    for name, value in (("seeds", seeds), ("max_turns", max_turns)):
        if type(value) is not int or value < 1:
            raise UsageError(f"{name} must be a whole number >= 1, got {value!r}")

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        if not inspect.iscoroutinefunction(test):
            raise UsageError(f"explore() decorates an async def test, got {test!r}")

        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            for seed in _seeds(seeds):
                found = run_seed(lambda: test(*args, **kwargs), seed, max_turns=max_turns)
                if found.error is not None:
                    _report(found, lambda: test(*args, **kwargs), max_turns)
                    raise found.error

        return run

    return decorate


def _seeds(count: int) -> range:
    given = os.environ.get(SEED_VARIABLE)
    if given is None:
        return range(count)
    if not given.isdecimal():
        raise UsageError(f"{SEED_VARIABLE} must be a whole number >= 0, got {given!r}")
    return range(int(given), int(given) + 1)


def _report(found: Run, again: Callable[[], Coroutine[Any, Any, None]], max_turns: int) -> None:
    """Put the seed into the error's notes, and whether the seed alone decides."""
    error = found.error
    assert error is not None
    where = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or "<the test>"
    error.add_note(f"found with seed {found.seed}; again: {SEED_VARIABLE}={found.seed} pytest '{where}'")
    second = run_seed(again, found.seed, max_turns=max_turns)
    if second.trace != found.trace:
        error.add_note("the test is not deterministic: a second run with this seed took other turns")
    elif second.error is None:
        error.add_note("a second run with this seed took the same turns and passed")
