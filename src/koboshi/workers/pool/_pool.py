"""`Pool`: a supervisor whose children are worker processes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._end import Stop, gone
from ..._kernel._errors import ActorExited, CallError, UsageError
from ..._kernel._events import CrashReport, RestartFailed, Unhandled
from ..._kernel._reasons import KILLED, SHUTDOWN, ExitReason, as_reason
from ..._kernel._reply import ReplyTo
from ..._supervision._child import Child
from ..._supervision._options import whole
from ..._supervision._root import request
from ..._supervision._spec import ChildSpec
from ...wire import DEFAULT_FRAME_LIMIT
from ...wire._keys import message_key
from ...wire._pickle import dumps
from ..process._jobs import Entry as Arguments
from ..process._jobs import FunctionRef, encode_arguments
from ..process._shared import borrow, give_back
from ._concurrent_host import handle_beside, open_hosts
from ._crew import Crew
from ._dispatch import Strategy
from ._engine import Engine, Refusal
from ._host import handle, load, open_host
from ._scaling import Scaling, crew_of
from ._sizing import Sizing
from ._slot import Worker
from ._statistics import PoolStatistics, WorkerInfo
from ._takers import MessageTaker
from ._terms import QUARANTINE, Terms

__all__ = ["Pool", "is_actor", "is_spec"]

RESTARTS_PER_WORKER = 25
WITHIN = 5.0
START_ATTEMPTS = 3
GRACE = 3.0
QUEUE = 65_536


class Pool(Scaling):
    """Worker processes under a supervisor of their own: `kb.pool(size=4).options(id="pool")`.

    Give it work with `kb.jobs(tree.ref(kb.Pool, "pool"))`. Each worker is a child, `w1` and so on, that
    ends with its process. See `pool` for the arguments.
    """

    #: The actor class that its workers hold; None for a pool that runs functions.
    hosts: type[Actor] | None = None

    def __init__(
        self,
        target: ChildSpec[Any] | Callable[..., Any] | None = None,
        /,
        *,
        size: int | None = None,
        queue: int = QUEUE,
        retries: int = 0,
        timeout: float | None = None,
        max_concurrency: int = 1,
        quarantine: int = QUARANTINE,
        max_jobs: int | None = None,
        max_age: float | None = None,
        max_memory: int | None = None,
        spares: int = 0,
        strategy: Strategy = "least_busy",
        key: Callable[..., Any] | None = None,
        min: int | None = None,
        max: int | None = None,
        idle_after: float | None = None,
        max_restarts: int | None = None,
        within: float = WITHIN,
        grace: float = GRACE,
        preload: Sequence[str] = (),
        frame_limit: int = DEFAULT_FRAME_LIMIT,
    ) -> None:
        self._sizing = Sizing.of(size, min, max, idle_after)
        self.retries = whole("retries", retries, 0)
        self.grace = grace
        self._terms = Terms(
            timeout, quarantine, max_jobs, max_age, max_memory, spares, strategy, key, max_concurrency
        )
        self._queue = whole("queue", queue, 1)
        self._frame_limit = whole("frame_limit", frame_limit, 1)
        self._preload = tuple(preload)
        self._target = _checked(target, self.hosts)
        if not grace >= 0:
            raise UsageError(f"grace takes seconds >= 0, got {grace!r}")
        if strategy == "by_key" and self._sizing.elastic:
            raise UsageError('strategy="by_key" takes a fixed size: a key has another worker at another size')
        if key is not None and self.hosts is None:
            raise UsageError("key is for pools of actors; give functions theirs with jobs.by_key(key)")
        crews = {crew.name: crew for crew in map(crew_of, range(1, self._sizing.least + 1))}
        super().__init__(
            *map(self._worker_spec, crews),
            max_restarts=RESTARTS_PER_WORKER * self._sizing.most if max_restarts is None else max_restarts,
            within=within,
        )
        self._made_with = (
            () if target is None else (target,),
            {
                "size": size,
                "queue": queue,
                "retries": retries,
                "timeout": timeout,
                "max_concurrency": max_concurrency,
                "quarantine": quarantine,
                "max_jobs": max_jobs,
                "max_age": max_age,
                "max_memory": max_memory,
                "spares": spares,
                "strategy": strategy,
                "key": key,
                "min": min,
                "max": max,
                "idle_after": idle_after,
                "max_restarts": max_restarts,
                "within": within,
                "grace": grace,
                "preload": preload,
                "frame_limit": frame_limit,
            },
        )
        self.engine: Engine
        self._open_scaling(crews)
        # Processes that are started before their `Worker`, so that all of them start at once.
        self._boots: dict[str, asyncio.Task[None]] = {}
        # Failed starts in a row, by slot.
        self._failed_starts: dict[str, int] = {}
        self._left = False

    # -- its own start and end -------------------------------------------------------------------

    async def on_start(self) -> None:
        node = self._kb_cell.node
        self._server = borrow(node)
        self._server.preload(self._preload)
        self.engine = Engine(
            self._kb_cell.label,
            self._sizing,
            self._queue,
            self._frame_limit,
            self._terms,
            grace=self.grace,
            no_spare=self._no_spare,
            resize=self.resize,
        )
        # A kill skips `on_stop`, and must not leave a process or a caller behind.
        # Not `_guard`: a root supervisor has one of that name.
        self._vigil: asyncio.Future[ExitReason | None] = asyncio.ensure_future(gone(self._kb_cell))
        self._vigil.add_done_callback(self._ended_somehow)
        try:
            self.engine.open(self._server, self._pack_set_up())
            self._messages = self._pack_messages()
            for name, crew in self._crews.items():
                self._boots[name] = node.loop.create_task(self._boot(crew))
            await super().on_start()
        except (Stop, Exception):
            await self._leave(SHUTDOWN)
            raise

    async def on_stop(self, reason: ExitReason) -> None:
        self.engine.finish(self._refusal(reason))
        await asyncio.gather(self._stop_all(), self.engine.recycling.drain(self.grace))
        await self._leave(reason)

    async def _stop_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for child in tuple(self._children.values()):
                group.create_task(self._stop(child))

    def _ended_somehow(self, guard: asyncio.Future[ExitReason | None]) -> None:
        if not self._left:
            reason = KILLED if guard.cancelled() else guard.result() or KILLED
            self.engine.close(self._refusal(reason))
            self._leaving = asyncio.ensure_future(self._leave(reason))

    async def _leave(self, reason: ExitReason) -> None:
        """Fail what is left, end every process, and give the fork server back."""
        if self._left:
            return
        self._left = True
        for boot in self._boots.values():
            boot.cancel()
        await asyncio.gather(*self._boots.values(), return_exceptions=True)
        self.engine.close(self._refusal(reason))
        await self.engine.wait_ended()
        await give_back(self._kb_cell.node, self._server)

    def _refusal(self, reason: ExitReason) -> Refusal:
        label = self._kb_cell.label()

        def refuse(name: str, begun: bool) -> CallError:
            return ActorExited(label, name, reason, maybe_executed=begun)

        return refuse

    # -- its workers -----------------------------------------------------------------------------

    def _worker_spec(self, name: str) -> ChildSpec[Any]:
        return ChildSpec(Worker, (self, name), id=name, shutdown=self.grace + 1.0)

    async def _boot(self, crew: Crew) -> None:
        await self.engine.start(crew)

    async def started_crew(self, name: str) -> Crew:
        """Have the process of a worker started; for `Worker` alone."""
        boot = self._boots.pop(name, None)
        if boot is not None:
            await boot
            return self._crews[name]
        # A new one each time: the end of the last one's processes is none of its affair.
        old = self._crews[name]
        crew = self._crews[name] = Crew(name, old.done, old.lane)
        await self._boot(crew)
        return crew

    def _pack_set_up(self) -> tuple[FunctionRef, Arguments] | None:
        """The first job of each process: make its actor, or import its function."""
        target = self._target
        if target is None:
            return None
        function: Callable[..., object] = load
        args: tuple[Any, ...] = (target,)
        if is_spec(target):
            function = open_host if self._terms.max_concurrency == 1 else open_hosts
            args = (target.target, target.args, target.kwargs)
        ref = self.engine.functions.ref(function, self._frame_limit)
        return ref, encode_arguments(ref, args, {}, self._frame_limit)

    def _no_spare(self, error: Exception) -> None:
        instruments = self._kb_cell.node.instruments
        instruments.emit(RestartFailed(self._kb_cell.label(), "a spare", as_reason(error)))

    def _not_up(self, child: Child, error: Exception) -> None:
        self._failed_starts[child.id] = self._failed_starts.get(child.id, 0) + 1
        super()._not_up(child, error)

    def _restarted(self, child: Child) -> None:
        self._failed_starts.pop(child.id, None)
        super()._restarted(child)

    def _restart(self, child: Child) -> Any:
        """Restart a worker, unless it did not start several times in a row: it never will."""
        if self._failed_starts.get(child.id, 0) >= START_ATTEMPTS:
            return self._give_up(child)
        return super()._restart(child)

    @request
    async def statistics(self) -> PoolStatistics:  # type: ignore[override]
        """Workers and jobs, now and since the start."""
        jobs = self.engine.dispatcher.statistics()
        return PoolStatistics(
            size=self.workers,
            min=self._sizing.least,
            max=self._sizing.most,
            workers=tuple(
                self._worker_info(child) for id, child in self._children.items() if id in self._crews
            ),
            queued=jobs.queued,
            running=jobs.in_flight,
            done=jobs.done,
            failed=self.engine.failed,
            crashed=self.engine.crashed,
            retried=jobs.retried,
            overdue=self.engine.overdue,
            quarantined=self.engine.quarantined,
            restarts=self._restarts,
            recycled=self.engine.recycling.recycled,
            spares=self.engine.spares.ready,
        )

    def _worker_info(self, child: Child) -> WorkerInfo:
        crew = self._crews[child.id]
        process = crew.process if child.cell is not None else None
        return WorkerInfo(
            slot=child.id,
            pid=None if process is None else process.pid,
            restarts=child.restarts,
            done=crew.done,
            busy=process is not None and self.engine.dispatcher.busy(process),
        )

    # -- messages to the actors that its workers hold -----------------------------------------------

    @classmethod
    def _kb_answers_for(cls, other: type[Actor]) -> bool:
        return issubclass(cls, other) or (cls.hosts is not None and issubclass(cls.hosts, other))

    def _pack_messages(self) -> dict[str, FunctionRef]:
        if self.hosts is None:
            return {}
        self._taker = MessageTaker(self._kb_cell.label, self._report)
        packed: dict[str, FunctionRef] = {}
        give = handle if self._terms.max_concurrency == 1 else handle_beside
        for fn in self.hosts._kb_info.protocol:
            blob = dumps(functools.partial(give, fn.__name__))
            # Bound to anything: its parameters are named in errors, and `self` is not sent.
            packed[fn.__name__] = FunctionRef(fn.__qualname__, blob, fn.__get__(self), lasting=True)
        return packed

    def forward(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], reply: ReplyTo[Any]) -> None:
        """Send a message to the actor of the worker that is to have it, which then owes the reply."""
        ref = self._messages[name]
        wanted = reply if reply.wanted else None
        try:
            entry = encode_arguments(ref, args, kwargs, self._frame_limit)
            key = message_key(self._terms.key, args, kwargs) if self.engine.keyed else None
            self.engine.submit(ref, entry, self._taker, (ref.name, wanted), self.retries, key)
        except Exception as error:  # also what a `key` of the user raises: it is this one message's
            if wanted is None:
                self._report(ref.name, error, True)
            else:
                wanted.fail(error)

    def _report(self, name: str, error: BaseException, lost: bool) -> None:
        """Report what no caller sees: the crash of an actor in a worker, or a cast that was lost."""
        label, instruments = self._kb_cell.label(), self._kb_cell.node.instruments
        if lost:
            instruments.emit(Unhandled(label, f"{name}: {error}"))
            return
        assert self.hosts is not None
        instruments.emit(
            CrashReport(
                process=f"{label}/{self.hosts.__name__}",
                error=error,
                message=name,
                state="-",
                links=(),
                ancestors=(label,),
                waiting=0,
            )
        )


def _checked(target: Any, hosts: type[Actor] | None) -> Any:
    if is_spec(target):
        if hosts is None:
            raise UsageError("a pool of actors is made with kb.pool(kb.child(Name, ...)), not with kb.Pool")
        target.check(())
    elif target is not None and (not callable(target) or is_actor(target)):
        raise UsageError(
            "a pool takes a function, or kb.child(Name, ...) for workers that each hold an actor; "
            f"got {target!r}"
        )
    return target


def is_spec(target: Any) -> bool:
    """Whether it is a child spec, without narrowing its type to one of unknown things."""
    return isinstance(target, ChildSpec)


def is_actor(target: Any) -> bool:
    """Whether it is an actor class."""
    return isinstance(target, type) and issubclass(target, Actor)
