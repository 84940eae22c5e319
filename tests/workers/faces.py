"""The faces that a pool of processes has, with one way to use them all in tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.waiting import ask
from tests.workers.hostile_jobs import Hostile, one
from tests.workers.rig import descriptors, pool_of

import koboshi as kb

FACES = ("executor", "jobs", "as_executor", "actors")

Run = Callable[..., Any]


class Face:
    """One face: `run(function, *args)` runs it in a worker and returns or raises what callers get."""

    def __init__(self, name: str, size: int, run: Run) -> None:
        self.name = name
        self.size = size
        self._run = run

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        async with asyncio.timeout(40):
            return await self._run(function, *args)

    async def error(self, function: Callable[..., Any], *args: Any) -> BaseException | None:
        """What a job fails with, the same for all faces; None when it does not."""
        try:
            await self.run(function, *args)
        except kb.ActorExited as exited:
            return exited.reason.error if isinstance(exited.reason, kb.Crashed) else exited
        except Exception as error:
            return error
        return None

    async def whole(self) -> list[int]:
        """Wait, one round trip after the other, until there are as many workers as there should be."""
        async with asyncio.timeout(20):
            while True:
                await self.run(one)
                states = workers()
                if len(states) == self.size and "Z" not in states.values():
                    return sorted(states)


def processes_of(parent: int) -> dict[int, str]:
    """The children of a process and the state of each: Z for a zombie, T for one that is stopped."""
    found: dict[int, str] = {}
    try:
        for task in Path(f"/proc/{parent}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                found[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        pass  # one of them ended in the meantime; whoever waits looks again
    return found


def servers() -> list[int]:
    """The fork servers of this process."""
    return [pid for pid, state in processes_of(os.getpid()).items() if state != "Z"]


def workers() -> dict[int, str]:
    """All workers of this process, and the state of each."""
    return {pid: state for server in servers() for pid, state in processes_of(server).items()}


def shared_pages() -> int:
    """Journals of workers that this process has mapped."""
    return Path("/proc/self/maps").read_text().count("koboshi-journal")


@asynccontextmanager
async def face_of(name: str, size: int, *, timeout: float | None = None) -> AsyncIterator[Face]:
    """A pool of `size` workers behind one of FACES."""
    if name == "executor":
        executor = kb.Executor(size, timeout=timeout)

        async def submit(function: Callable[..., Any], *args: Any) -> Any:
            return await asyncio.wrap_future(executor.submit(function, *args))

        try:
            yield Face(name, size, submit)
        finally:
            await asyncio.to_thread(executor.shutdown)
    elif name == "actors":
        spec = kb.pool(kb.child(Hostile), size=size, timeout=timeout)
        async with kb.Supervisor(spec.options(id="pool")) as tree:
            ref = tree.ref(Hostile, "pool").within(None)

            async def call(function: Callable[..., Any], *args: Any) -> Any:
                return await ref.call(Hostile.do, function, args)

            yield Face(name, size, call)
    else:
        async with pool_of(size, timeout=timeout) as rig:
            if name == "jobs":
                yield Face(name, size, rig.jobs.call)
                return
            executor = rig.jobs.as_executor()  # type: ignore[assignment]

            async def submit_to_pool(function: Callable[..., Any], *args: Any) -> Any:
                return await asyncio.wrap_future(executor.submit(function, *args))

            yield Face(name, size, submit_to_pool)


class Before:
    """What a pool was like."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.descriptors = descriptors()
        self.shared = shared_pages()

    @classmethod
    async def of(cls, face: Face) -> Before:
        return cls(await face.whole())

    def kept(self) -> bool:
        """Whether descriptors or shared memory are there that were not, or the other way round."""
        return (self.descriptors, self.shared) != (descriptors(), shared_pages())

    async def check_same(self, face: Face, deaths: int) -> None:
        """The pool is whole, only `deaths` of its workers are new, and nothing was left."""
        after = await face.whole()
        assert face.size - deaths == len(set(self.pids) & set(after))
        assert [1] * 50 == await asyncio.gather(*(face.run(one) for _ in range(50)))
        # What a dead worker had goes when the loop comes round to its end, which a busy machine puts off.
        await ask(lambda: not self.kept(), f"the end of what is left: {self.descriptors}", bound=5.0)
        assert (self.descriptors, self.shared) == (descriptors(), shared_pages())
        assert [] == [pid for pid, state in processes_of(os.getpid()).items() if state == "Z"]
