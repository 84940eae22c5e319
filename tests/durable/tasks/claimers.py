"""Programs that run the tasks of a queue until their input ends.

    python -m tests.durable.tasks.claimers FOLDER URL QUEUE HOW_MANY

Each says "up" when it is, and in the end writes the ids of what it has run to a file with the number of its process.
They are forked from one that has everything imported, which costs a fraction of starting each.
"""

# ruff: noqa: ASYNC240
# Nothing else runs in these loops then, so the blocking file functions do no harm.

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import sqlalchemy  # noqa: F401 - imported once, before the others come into being
from tests.durable.tasks import work

import koboshi as kb


async def run(folder: str, url: str, name: str) -> None:
    queue = kb.Queue(name, store=url)
    async with kb.Supervisor(queue.child(workers=1, concurrency=4)):
        os.write(1, b"up\n")
        await asyncio.to_thread(sys.stdin.read)
    Path(folder, str(os.getpid())).write_text(" ".join(work.RUNS))


def main(folder: str, url: str, name: str, how_many: str) -> int:
    children = []
    for _ in range(int(how_many)):
        pid = os.fork()
        if not pid:
            asyncio.run(run(folder, url, name))
            os._exit(0)
        children.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
