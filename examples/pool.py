"""A supervised pool for functions, and a pool of actors; two workers are killed on the way.

Run it with:  .venv/bin/python examples/pool.py
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import zlib

import koboshi as kb


def digest(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


class Thumbnailer(kb.Actor):
    """Stands for something that is costly to make and is made once per worker."""

    def __init__(self, level: int = 9) -> None:
        self.level = level

    @kb.message
    def make(self, image: bytes) -> bytes:
        if not image:
            raise ValueError("no image")
        return zlib.compress(image, self.level)

    @kb.message
    async def pid(self) -> int:
        await asyncio.sleep(0)
        return os.getpid()


async def main() -> None:
    async with kb.Supervisor(
        kb.pool(digest, size=2).options(id="pool"),
        kb.pool(kb.child(Thumbnailer, level=6), size=2).options(id="thumbs"),
    ) as tree:
        pool = tree.ref(kb.Pool, "pool")
        jobs = kb.jobs(pool)
        print(await jobs.call(digest, 1))

        before = await pool.call(kb.Pool.statistics)
        digests: list[str] = []
        async for text in jobs.options(retries=3).map(digest, range(10_000)):
            if len(digests) == 5_000:
                for worker in before.workers:
                    if worker.pid is not None:
                        os.kill(worker.pid, signal.SIGKILL)
            digests.append(text)
        print(len(digests), "digests in order:", digests == [digest(n) for n in range(10_000)])
        after = await pool.call(kb.Pool.statistics)
        print(after.restarts, "workers replaced,", after.retried, "jobs started again")

        thumbs = tree.ref(Thumbnailer, "thumbs")  # an ordinary ref: the workers are behind it
        print(len(await thumbs.call(Thumbnailer.make, b"koboshi" * 1000)), "bytes")
        try:
            await thumbs.call(Thumbnailer.make, b"")
        except kb.ActorExited as exited:
            print("crashed alone:", repr(exited.__cause__))
        print(await thumbs.call(Thumbnailer.pid) != os.getpid())


if __name__ == "__main__":
    kb.run(main)
