"""One worker process and its fork server, without a pool."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Sequence
from typing import Any

import pytest
from tests.workers import worker_jobs as jobs

from koboshi._kernel._reasons import RemoteError
from koboshi.workers import (
    ForkServer,
    JobQueueFull,
    RemoteTraceback,
    ResultNotPicklable,
    WorkerCrashed,
    WorkerDeath,
    WorkerExit,
    WorkerProcess,
    WorkerStartFailed,
)
from koboshi.workers.process._jobs import FunctionTable

LIMIT = 1 << 20


class Owner:
    """Keeps what a worker reports."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []
        self.deaths: list[WorkerDeath] = []
        self.changed = asyncio.Event()

    def on_outcomes(self, worker: WorkerProcess, outcomes: Sequence[Any]) -> None:
        self.outcomes += outcomes
        self.changed.set()

    def on_death(self, worker: WorkerProcess, death: WorkerDeath) -> None:
        self.deaths.append(death)
        self.changed.set()

    async def start(self, server: ForkServer) -> WorkerProcess:
        return await WorkerProcess.start(server, on_outcomes=self.on_outcomes, on_death=self.on_death)

    async def wait_outcomes(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.outcomes) < count:
                self.changed.clear()
                await self.changed.wait()


async def test_outcomes_come_in_order_and_stop_lets_work_finish() -> None:
    server, owner = ForkServer(), Owner()
    try:
        worker = await owner.start(server)
        function = FunctionTable().ref(jobs.add_one, LIMIT)
        worker.submit(function, [(number,) for number in range(500)])
        worker.submit(function, [(number,) for number in range(500, 1000)])
        death = await worker.stop(5.0)
    finally:
        await server.aclose()

    assert list(range(1, 1001)) == owner.outcomes
    assert [death] == owner.deaths
    assert (0, False) == (death.exit.code, death.running)
    assert not worker.alive


async def test_a_worker_that_will_not_stop_is_killed_at_the_deadline() -> None:
    server, owner = ForkServer(), Owner()
    try:
        worker = await owner.start(server)
        os.kill(worker.pid, signal.SIGSTOP)
        death = await worker.stop(0.01)
    finally:
        await server.aclose()

    assert "SIGKILL" == death.exit.name


async def test_a_full_socket_is_reported_and_loses_nothing() -> None:
    server, owner = ForkServer(), Owner()
    try:
        worker = await owner.start(server)
        os.kill(worker.pid, signal.SIGSTOP)
        function = FunctionTable().ref(len, LIMIT)
        blob = pickle.dumps(((b"x" * 900_000,), {}))
        for _ in range(5):
            worker.submit(function, [blob], len(blob))
        worker.submit(function, [("abc",)])
        before = worker.congested
        os.kill(worker.pid, signal.SIGCONT)
        await owner.wait_outcomes(6)
        after = worker.congested
        await worker.stop()
    finally:
        await server.aclose()

    assert [900_000] * 5 + [3] == owner.outcomes
    assert (True, False) == (before, after)


async def test_cancelled_starts_leave_nothing() -> None:
    """The hygiene of this suite finds a descriptor or a process that one of them forgot."""
    server, owner = ForkServer(), Owner()
    try:
        await (await owner.start(server)).stop()
        for turns in range(1, 30):
            starting = asyncio.create_task(owner.start(server))
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            started = (await asyncio.gather(starting, return_exceptions=True))[0]
            if isinstance(started, WorkerProcess):
                await started.stop()
    finally:
        await server.aclose()


async def test_a_closed_fork_server_starts_nothing() -> None:
    server = ForkServer()
    await server.aclose()

    with pytest.raises(WorkerStartFailed, match="closed"):
        await Owner().start(server)


async def test_a_preloaded_module_that_fails_stops_nobody() -> None:
    server, owner = ForkServer(preload=["tests.workers.no_such_module", "json"]), Owner()
    try:
        worker = await owner.start(server)
        worker.submit(FunctionTable().ref(abs, LIMIT), [(-1,)])
        await worker.stop()
    finally:
        await server.aclose()

    assert [1] == owner.outcomes


async def test_reprs_are_one_line() -> None:
    server, owner = ForkServer(), Owner()
    assert "<ForkServer pid=None workers=0>" == repr(server)
    try:
        worker = await owner.start(server)
        assert f"<WorkerProcess pid={worker.pid} alive in_flight=0>" == repr(worker)
        assert (1, 1) == (server.statistics().workers, server.statistics().starts)
        await worker.stop()
    finally:
        await server.aclose()

    assert f"<WorkerProcess pid={worker.pid} exit 0 in_flight=0>" == repr(worker)


@pytest.mark.parametrize(
    "error",
    [
        WorkerCrashed("f", WorkerExit(1, signal=9), maybe_executed=False),
        RemoteError("T", "text", "trace"),
        RemoteTraceback("trace"),
        ResultNotPicklable("T", "no"),
        JobQueueFull(3),
        WorkerStartFailed("no"),
    ],
)
def test_errors_survive_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))


@pytest.mark.parametrize(
    ("exit_", "name", "text"),
    [
        (WorkerExit.from_status(7, 9), "SIGKILL", "worker 7 was killed by SIGKILL"),
        (WorkerExit.from_status(7, 3 << 8), "exit 3", "worker 7 exited with code 3"),
        (WorkerExit.from_status(7, None, "why"), "unknown", "worker 7 ended with an unknown status (why)"),
        (WorkerExit(7, signal=63), "signal 63", "worker 7 was killed by signal 63"),
    ],
)
def test_an_exit_names_its_signal_or_code(exit_: WorkerExit, name: str, text: str) -> None:
    assert (name, text) == (exit_.name, str(exit_))
