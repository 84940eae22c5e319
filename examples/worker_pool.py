"""Actors behind a router: who gets the work, and what happens when one of them crashes.

Run it with:  .venv/bin/python examples/worker_pool.py
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import koboshi as kb
from koboshi import otp

# The crashes below are meant; each would be logged with its traceback.
logging.getLogger("koboshi").setLevel(logging.CRITICAL + 1)


class Worker(kb.Actor):
    """Works for a moment, or crashes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs = 0

    @kb.message
    async def work(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        self.jobs += 1
        return self.name

    @kb.message
    def crash(self) -> None:
        raise RuntimeError(f"{self.name} is broken")

    @kb.message
    def done(self) -> int:
        return self.jobs


def workers() -> list[kb.ChildSpec[Worker]]:
    return [kb.child(Worker, name).options(id=name) for name in ("anna", "ben", "carla")]


async def main() -> None:
    async with kb.Supervisor(*workers()) as tree:
        in_turn = otp.router(tree, Worker)
        print("round robin:", *[await in_turn.call(Worker.work, 0.0) for _ in range(6)])

        # One is held up by a long job, so the others share what comes meanwhile.
        least = otp.router(tree, Worker, strategy="least_busy")
        long = asyncio.ensure_future(least.call(Worker.work, 0.2))
        await asyncio.sleep(0)
        short = Counter([await least.call(Worker.work, 0.0) for _ in range(10)])
        print("least busy:", dict(sorted(short.items())), "beside", await long)

        # One that is down is passed over, and found again when it is back.
        await tree.terminate_child("ben")
        print("without ben:", *[await in_turn.call(Worker.work, 0.0) for _ in range(4)])
        await tree.restart_child("ben")
        print("with ben:", *sorted([await in_turn.call(Worker.work, 0.0) for _ in range(3)]))

    # A crash is one restart; its place in the pool stays.
    async with kb.Supervisor(*workers(), max_restarts=3) as tree:
        ben = tree.ref(Worker, "ben")
        for _ in range(3):
            await crash(ben)
            await tree.wait_ready()
        print("restarts:", (await tree.statistics()).restarts)

    # One restart over the limit and the pool gives up, with the reason.
    try:
        async with kb.Supervisor(*workers(), max_restarts=3) as tree:
            while True:
                await crash(tree.ref(Worker, "ben"))
                await tree.wait_ready()
    except kb.SupervisorGaveUp as error:
        print("given up:", error.__cause__)

    # Workers that share something are restarted together.
    async with kb.Supervisor(*workers(), strategy="one_for_all") as tree:
        await otp.router(tree, Worker, strategy="broadcast").call_all(Worker.work, 0.0)
        await crash(tree.ref(Worker, "anna"))
        await tree.wait_ready()
        everybody = otp.router(tree, Worker, strategy="broadcast")
        print("jobs after one_for_all:", await everybody.call_all(Worker.done))


async def crash(ref: kb.ActorRef[Worker]) -> None:
    try:
        await ref.call(Worker.crash)
    except kb.CallError:
        pass  # it did what it was asked for


if __name__ == "__main__":
    kb.run(main)
