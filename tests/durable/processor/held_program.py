"""A processor that is killed by the tests while its task is in hand: `python held_program.py URL FLAG`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.processor import work  # noqa: E402 - stores know its tasks by this name

import koboshi as kb  # noqa: E402
from koboshi.durable import TaskProcessor  # noqa: E402

Processor = TaskProcessor[str, str, list[str]]
# Hosts beat three times in a lease.
LEASE = 27.0


def processor_of(url: str, flag: str) -> Processor:
    return TaskProcessor(
        url,
        work.hold_once,
        fold=lambda total, result: [*total, result.value],
        initial=list,
        source=lambda: [("one", flag)],
        workers=1,
        lease=LEASE,
    )


async def main(url: str, flag: str) -> None:
    async with kb.Supervisor(processor_of(url, flag).child()):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
