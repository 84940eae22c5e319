"""One run: the tree, passes over the input until the time is over, and the proof of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

import koboshi as kb

from ._aggregate import PassTotal
from ._options import Options
from ._prepare import Plan
from ._proof import Evidence, PassProof, Proof, prove_pass, read_evidence, serial_run
from ._source import Passes
from ._tree import Crashes, Killer, Processor, Snapshot, demo_tree, make_processor
from ._view import View

__all__ = ["Run"]

# Seconds that the pool may take to replace the last victim.
_POOL_DEADLINE = 30.0
_LOOK_AGAIN = 0.02


class Run:
    """Carries out one plan and shows it in `view`."""

    def __init__(self, options: Options, plan: Plan, store: str, view: View) -> None:
        self._options = options
        self._plan = plan
        self._view = view
        self._began = time.monotonic()
        self._crashes = Crashes()
        self._passes = Passes(plan.root, plan.files, plan.begun)
        self._processor: Processor = make_processor(options, store, self._passes)

    async def proof(self) -> Proof:
        """Run everything; what it came to."""
        plan = self._plan
        forget = kb.listen(self._crashes)
        try:
            self._view.note(f"{len(plan.files):,} Python files in {plan.root}")
            async with serial_run(plan.root) as serial:
                passes, kills, restarts = await self._under_the_tree()
                if not serial.done():
                    self._view.note("all passes are done; waiting for the serial run")
                reference = await serial
        finally:
            forget()
        return Proof(
            passes=tuple(passes),
            files=len(plan.files),
            kills=kills,
            restarts=restarts,
            serial=reference,
            seconds=time.monotonic() - self._began,
            workers=self._options.workers,
        )

    async def _under_the_tree(self) -> tuple[list[PassProof], int, int]:
        """All that needs the tree: the passes, proved, and then kills and restarts."""
        passes: list[PassProof] = []
        kills = restarts = 0
        async with demo_tree(self._processor, self._options) as tree, self._shown(tree):
            passes = await self._run_passes()
            kills, restarts = await self._settle_pool(tree)
        return passes, kills, restarts

    # -- passes ----------------------------------------------------------------------------------

    async def _run_passes(self) -> list[PassProof]:
        """Finish what was begun earlier, then one pass after the other; each is proved when it ends."""
        if not self._passes.begun:
            self._passes.begin()
        proofs: list[PassProof] = []
        while True:
            await self._processor.wait_settled(self._passes.begun * len(self._plan.files))
            proofs += await self._prove(after=len(proofs))
            if time.monotonic() - self._began >= (self._options.seconds or 0.0):
                break
            self._passes.begin()
        self._passes.end()
        await self._processor.wait_finished()
        return proofs

    async def _prove(self, after: int) -> list[PassProof]:
        """The passes that ended and are not proved yet."""
        evidence = await read_evidence(self._processor.queue)
        totals = await self._processor.total()
        return [
            prove_pass(
                number,
                self._plan.files,
                evidence.get(number, Evidence()),
                totals.get(number, PassTotal()),
            )
            for number in range(after + 1, self._passes.begun + 1)
        ]

    async def _settle_pool(self, tree: kb.Supervisor) -> tuple[int, int]:
        """Stop the killing and wait until the pool is whole again; kills and restarts."""
        kills = await tree.ref(Killer, "killer").call(Killer.cease)
        deadline = time.monotonic() + _POOL_DEADLINE
        while True:
            pool = await self._processor.pool.call(kb.Pool.statistics)
            restarts = sum(worker.restarts for worker in pool.workers)
            whole = restarts >= kills and all(worker.pid is not None for worker in pool.workers)
            if whole or time.monotonic() > deadline:
                return kills, restarts
            await asyncio.sleep(_LOOK_AGAIN)

    # -- showing ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _shown(self, tree: kb.Supervisor) -> AsyncGenerator[None]:
        """Keeps the view up to date while the block runs, and shows the end of it."""
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch(tree))
            yield
            watcher.cancel()
        self._view.show(await self._look(tree))

    async def _watch(self, tree: kb.Supervisor) -> None:
        while True:
            await asyncio.sleep(self._view.every)
            try:
                snapshot = await self._look(tree)
            except (kb.CallError, kb.DurableError):
                continue  # a part is being restarted; the next look will tell
            self._view.show(snapshot)

    async def _look(self, tree: kb.Supervisor) -> Snapshot:
        processor = self._processor
        counts = await processor.statistics()
        pool = await processor.pool.call(kb.Pool.statistics)
        seconds = time.monotonic() - self._began
        return Snapshot(
            seconds=seconds,
            passes=self._passes.begun,
            files=len(self._plan.files),
            settled=counts.done + counts.dead,
            dead=counts.dead,
            rate=(counts.done + counts.dead - self._plan.settled) / seconds,
            workers=pool.workers,
            kills=await tree.ref(Killer, "killer").call(Killer.kills),
            crashes=tuple(self._crashes.lines),
        )
