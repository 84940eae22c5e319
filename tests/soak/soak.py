"""Kills workers at random moments while jobs flow through every face of a pool: `./run soak --help`.

At the end every job has exactly one outcome, no job ran more often than it may, the number of processes,
descriptors and shared pages is what it was at the beginning, and memory is flat.

Exit status: 0 when all of that holds, 1 when something does not, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.accounts import CRASHED, RETRIES, VALUE, Accounts
from tests.soak.census import Census, children_of, resident, slope
from tests.soak.jobs import Laborer, work

import koboshi as kb

SIZE = 3
CALLERS = 8
# A worker that was stopped is found by its job's timeout, in seconds; no job here takes a hundredth of it.
TIMEOUT = 3.0
# Between two kills, seconds at the most; half of it on average.
PAUSE = 0.24
KINDS = {signal.SIGKILL: 80, signal.SIGTERM: 10, signal.SIGALRM: 5, signal.SIGSTOP: 5}

# Bytes per kill, in the second half of a run. A death that left something would leave a WorkerProcess at
# least, with its reader, queues and futures: some 6 KB. Three runs of 1,000 kills were at -700. Below so
# many bytes in total it is the allocator, which gives memory back when it likes, as a short run sees it.
SLOPE_ALLOWED = 2048
GROWTH_ALLOWED = 1 << 20

Give = Callable[[int, int], Awaitable[int]]


@dataclass
class Result:
    """What is printed."""

    seed: int
    kills: int = 0
    seconds: float = 0.0
    jobs: int = 0
    values: int = 0
    crashed: int = 0
    retried: int = 0
    jobs_per_face: dict[str, int] = field(default_factory=dict)
    kills_by_signal: dict[str, int] = field(default_factory=dict)
    bytes_per_kill: float = 0.0
    server_bytes_per_kill: float = 0.0
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


class Soak:
    """One run.

    Args:
        seed: of everything that is random here; what the machine makes of it differs from run to run.
    """

    def __init__(self, kills: int, seed: int, accounts: Accounts) -> None:
        self.kills = kills
        self.random = random.Random(seed)
        self.accounts = accounts
        self.result = Result(seed)
        self.over = False
        self._killed: set[int] = set()
        self._memory: list[tuple[int, int]] = []
        self._server_memory: list[tuple[int, int]] = []

    async def run(self) -> Result:
        """Set up the three pools, let the jobs flow, kill, and look at what is left."""
        began = time.monotonic()
        path = str(self.accounts.path)
        pools = (
            kb.pool(size=SIZE, timeout=TIMEOUT).options(id="jobs"),
            kb.pool(kb.child(Laborer, path), size=SIZE, timeout=TIMEOUT).options(id="actors"),
        )
        executor = kb.Executor(SIZE, timeout=TIMEOUT)
        try:
            async with asyncio.timeout(60 + 0.5 * self.kills), kb.Supervisor(*pools) as tree:
                self._actors = tree.ref(Laborer, "actors").within(None)
                self._jobs = kb.jobs(tree.ref(kb.Pool, "jobs"))
                self._executor = executor
                self._path = path
                await self._flow(tree)
        except TimeoutError:
            self.result.mistakes.append("it did not end in time: some job has no outcome")
        finally:
            await asyncio.to_thread(executor.shutdown)
        left = children_of(os.getpid())
        if left:
            self.result.mistakes.append(f"processes were left: {left}")
        self.result.seconds = round(time.monotonic() - began, 1)
        return self.result

    async def _flow(self, tree: kb.Supervisor) -> None:
        faces: dict[str, tuple[Give, bool]] = {
            "jobs": (self._give_job, False),
            "jobs_with_retries": (self._give_job_with_retries, True),
            "executor": (self._give_to_executor, False),
            "actors": (self._give_to_actor, False),
        }
        await self._settle()
        before = Census.take()
        async with asyncio.TaskGroup() as group:
            for name, (give, retrying) in faces.items():
                self.result.jobs_per_face[name] = 0
                for _ in range(CALLERS):
                    group.create_task(self._call(name, give, retrying))
            await self._kill()
            self.over = True
        await self._settle()
        self._conclude(before, Census.take())
        statistics = await tree.ref(kb.Pool, "jobs").call(kb.Pool.statistics)
        self.result.retried = statistics.retried

    # -- jobs ------------------------------------------------------------------------------------------

    async def _give_job(self, number: int, microseconds: int) -> int:
        return await self._jobs.call(work, self._path, number, microseconds)

    async def _give_job_with_retries(self, number: int, microseconds: int) -> int:
        jobs = self._jobs.options(retries=RETRIES)
        return await jobs.call(work, self._path, number, microseconds)

    async def _give_to_executor(self, number: int, microseconds: int) -> int:
        return await asyncio.wrap_future(self._executor.submit(work, self._path, number, microseconds))

    async def _give_to_actor(self, number: int, microseconds: int) -> int:
        return await self._actors.call(Laborer.work, number, microseconds)

    async def _call(self, name: str, give: Give, retrying: bool) -> None:
        while not self.over and not self.accounts.full:
            await self._one(give, retrying)
            self.result.jobs_per_face[name] += 1

    async def _one(self, give: Give, retrying: bool) -> None:
        number = self.accounts.new()
        outcome = CRASHED
        try:
            value = await give(number, self.random.choice((20, 200, 2000)))
            outcome = VALUE
            if value != number * number:
                self.accounts.wrong.append(f"job {number} got {value}")
        except kb.WorkerCrashed:
            pass
        except kb.ActorExited as exited:
            if not isinstance(exited.__cause__, kb.WorkerCrashed):
                self.accounts.wrong.append(f"job {number} failed with {exited!r}")
        self.accounts.settle(number, outcome, retrying=retrying)

    # -- kills -----------------------------------------------------------------------------------------

    def _servers(self) -> list[int]:
        return sorted(pid for pid, state in children_of(os.getpid()).items() if state != "Z")

    async def _kill(self) -> None:
        looks = max(1, self.kills // 40)
        signals = Counter[str]()
        while signals.total() < self.kills and not self.accounts.full:
            await asyncio.sleep(self.random.uniform(0, PAUSE))
            victims = [pid for server in self._servers() for pid in children_of(server)]
            fresh = sorted(set(victims) - self._killed)
            if not fresh:
                continue
            signum = self.random.choices(list(KINDS), list(KINDS.values()))[0]
            victim = self.random.choice(fresh)
            os.kill(victim, signum)  # cannot be anybody else's number: its server collects it, and only once
            self._killed.add(victim)
            signals[signum.name] += 1
            if signals.total() % looks == 0:
                self._look(signals.total())
        self.result.kills, self.result.kills_by_signal = signals.total(), dict(signals)

    def _look(self, kills: int) -> None:
        gc.collect()
        self._memory.append((kills, resident(os.getpid())))
        self._server_memory.append((kills, sum(map(resident, self._servers()))))

    async def _settle(self) -> None:
        """Give jobs until every pool has its workers and none of them is stopped."""
        expected = 3 * SIZE
        while True:
            gives = (self._give_job, self._give_to_executor, self._give_to_actor)
            await asyncio.gather(*(self._one(give, False) for give in gives for _ in range(4 * SIZE)))
            census = Census.take()
            if (expected, 0, 0) == (census.workers, census.stopped, census.zombies):
                gc.collect()
                return

    # -- the end ---------------------------------------------------------------------------------------

    def _conclude(self, before: Census, after: Census) -> None:
        result = self.result
        result.before, result.after = asdict(before), asdict(after)
        result.jobs = self.accounts.given
        result.values, result.crashed = self.accounts.count(VALUE), self.accounts.count(CRASHED)
        result.mistakes += self.accounts.mistakes()
        if before != after:
            result.mistakes.append(f"before: {before}; after: {after}")
        if result.crashed > result.kills:
            result.mistakes.append(f"{result.crashed} jobs crashed by {result.kills} kills")
        result.bytes_per_kill = self._growth("the program", self._memory)
        result.server_bytes_per_kill = self._growth("the fork servers", self._server_memory)

    def _growth(self, whose: str, points: list[tuple[int, int]]) -> float:
        """Bytes per kill in the second half of the run, after caches have filled."""
        half = points[len(points) // 2 :]
        per_kill = slope(half)
        kills = half[-1][0] - half[0][0] if half else 0
        if per_kill > SLOPE_ALLOWED and per_kill * kills > GROWTH_ALLOWED:
            self.result.mistakes.append(f"the memory of {whose} grew by {per_kill:.0f} bytes per kill")
        return round(per_kill, 1)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        print(f"soak: {message}", file=sys.stderr)
        raise SystemExit(2)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(prog="./run soak", description="Kill workers at random moments while jobs flow.")
    parser.add_argument(
        "--kills", type=_count, default=1000, help="how many (1000, which take about 2 minutes)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON line and nothing else")
    return parser.parse_args(given)


def report(result: Result, as_json: bool) -> None:
    """Print what came of it."""
    if as_json:
        print(json.dumps(asdict(result)))
        return
    print(f"{result.kills} kills ({result.kills_by_signal}) in {result.seconds} s, seed {result.seed}")
    print(
        f"{result.jobs} jobs: {result.values} values, {result.crashed} crashed; {result.retried} starts again"
    )
    print(f"per face: {result.jobs_per_face}")
    print(f"before: {result.before}")
    print(f"after:  {result.after}")
    print(
        f"memory per kill: {result.bytes_per_kill} bytes, of fork servers {result.server_bytes_per_kill}; "
        f"allowed {SLOPE_ALLOWED}"
    )
    print("\n".join(f"MISTAKE: {mistake}" for mistake in result.mistakes) or "all as it must be")


def main(given: list[str]) -> int:
    """Run it and return the exit status."""
    options = arguments(given)
    # A thousand crash reports would say nothing new.
    logging.getLogger("koboshi").addHandler(logging.NullHandler())
    logging.getLogger("koboshi").propagate = False
    with tempfile.TemporaryDirectory(prefix="koboshi-soak-") as folder:
        accounts = Accounts(Path(folder) / "runs")
        result = asyncio.run(Soak(options.kills, options.seed, accounts).run(), debug=False)
        accounts.close()
    report(result, options.json)
    return 1 if result.mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
