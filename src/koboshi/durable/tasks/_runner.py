"""The part of a queue that has its tasks run: a `Flow`, and what is to be looked at now and then."""

from __future__ import annotations

import functools

from ..._kernel._actor import Actor
from ..._kernel._message import message
from ..._kernel._reasons import ExitReason
from ..._kernel._self import named
from ...workers import Pool, jobs
from .._failures import DurableError
from ..stores import Query
from ._claim import Recover
from ._cron import Schedule, fire
from ._events import TasksRecovered
from ._flow import Flow
from ._live import Live, find_live
from ._look import Purge
from ._peek import look_at_others
from ._plan import Plan
from ._task import registered

__all__ = ["Runner"]

# Seconds between two looks for tasks of programs that are gone, and for ours that were cancelled elsewhere.
_TEND = 1.0
_PURGE_EVERY = 5


class Runner(Actor):
    """Runs tasks until it is stopped; then what runs has `grace` seconds."""

    def __init__(self, plan: Plan, concurrency: int, grace: float, schedules: tuple[Schedule, ...]) -> None:
        self._plan = plan
        self._concurrency = concurrency
        self._grace = grace
        self._schedules = schedules
        self._tended = 0

    async def on_start(self) -> None:
        plan, node = self._plan, self._kb_cell.node
        self._live: Live = find_live(plan)
        self._store = self._live.store
        _, pool, engine = jobs(named(Pool, plan.part("pool")))._pool(self)
        me = self.me

        def crash(error: Exception) -> None:
            me.cast(Runner.crash, error)

        self._flow = Flow(
            self._live,
            plan,
            engine,
            pool,
            self._concurrency,
            f"queue {plan.name}",
            node.instruments,
            crash,
        )
        # What a predecessor in this program had claimed is free, and that of programs that are gone.
        await self._recover(own=True)
        await self._fire()
        self._live.flow = self._flow
        self._flow.wake()
        me.send_interval(_TEND, Runner.tend)

    async def on_stop(self, reason: ExitReason) -> None:
        await self._flow.finish(self._grace)
        self._live.flow = None

    @message
    def crash(self, error: Exception) -> None:
        """A callback failed."""
        raise error

    @message
    async def tend(self) -> None:
        """Look after what nobody tells of."""
        self._flow.look_at_held(_TEND)
        try:
            others = await self._store.run(
                Query(functools.partial(look_at_others, queue=self._plan.name, host=self._store.host))
            )
            if others.paused:
                self._flow.hold_back()
            # Whether they are there still: their leases tell late, and the store by itself looks with each beat only.
            self._store.forget_lost(others.alive)
            if others.lost:
                await self._recover(own=False)
            await self._fire()
            self._tended += 1
            if self._tended % _PURGE_EVERY == 0:
                await self._store.run(Purge(self._plan.name, self._plan.keep_dead))
        except DurableError:
            return  # the store says so itself, and there is a next time

    async def _recover(self, *, own: bool) -> None:
        found = 0
        while freed := await self._store.run(
            Recover(self._plan.name, self._store.host, own=own, counts=_runs_inside)
        ):
            found += freed
        if found:
            self._kb_cell.node.instruments.emit(TasksRecovered(f"queue {self._plan.name}", found))
            self._flow.wake()

    async def _fire(self) -> None:
        for schedule in self._schedules:
            if await fire(self._store, self._plan, schedule):
                self._flow.wake()


def _runs_inside(function: str) -> bool:
    """Whether a task of it runs in the program itself, and could be what ended it."""
    task = registered(function)
    return task is not None and task.is_async
