"""Nothing survives a root that dies, and functions of the user's own script run in workers."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import asyncio, os, signal, sys
sys.path.append({root!r})
import koboshi as kb
from tests.workers import worker_jobs as jobs

async def main():
    async with kb.Supervisor(kb.pool(size=3).options(id="pool")) as tree:
        ref = tree.ref(kb.Pool, "pool")
        pool = kb.jobs(ref)
        _, server = await pool.call(jobs.parent_pids)
        spinning = asyncio.create_task(pool.call(jobs.announce_and_spin, sys.argv[1]))
        pids = [worker.pid for worker in (await ref.call(kb.Pool.statistics)).workers]
        started = await asyncio.to_thread(lambda: open(sys.argv[1]).read())
        os.kill(next(pid for pid in pids if pid != int(started)), signal.SIGSTOP)
        idle = next(pid for pid in pids if pid != int(started))
        print(server, *pids, flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""

MAIN_SCRIPT = """
import asyncio, dataclasses, os
import koboshi as kb

@dataclasses.dataclass
class Point:
    x: int

class Refused(Exception):
    pass

def double(point):
    return Point(point.x * 2)

def refuse():
    raise Refused("no")

async def main():
    async with kb.Pool(size=2) as tree:
        pool = kb.jobs(tree.me)
        assert Point(4) == await pool.call(double, Point(2))
        try:
            await pool.call(refuse)
        except Refused as error:
            print("refused:", error)

print("imported as", __name__)
if __name__ == "__main__":
    asyncio.run(main())
"""

UNGUARDED = """
import asyncio
import koboshi as kb

def job():
    return 1

async def main():
    async with kb.Pool(size=1) as tree:
        return await kb.jobs(tree.me).call(job)

asyncio.run(main())
"""


def open_pidfds(pids: list[int]) -> dict[int, int]:
    """Descriptors of those that live; one may have ended since it was listed."""
    opened: dict[int, int] = {}
    for pid in pids:
        try:
            opened[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            continue
    return opened


def wait_gone(pidfds: dict[int, int], seconds: float) -> list[int]:
    """The pids that are still there after `seconds`."""
    poll = select.poll()
    left = dict(pidfds)
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left and (rest := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(rest * 1000):
            poll.unregister(fd)
            left.pop(fd)
    return list(left.values())


@pytest.mark.parametrize("server_stopped", [False, True])
def test_a_root_killed_with_9_takes_everybody_along_within_a_second(
    tmp_path: Path, server_stopped: bool
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, str(script), str(pipe)], stdout=subprocess.PIPE, text=True
    ) as root:
        try:
            assert root.stdout is not None
            server, *workers = map(int, root.stdout.readline().split())
            pidfds = open_pidfds([server, *workers])
            if server_stopped:
                os.kill(server, signal.SIGSTOP)
        finally:
            root.kill()
        try:
            assert 3 == len(workers)
            assert [] == wait_gone(pidfds, 1.0)
        finally:
            for fd in pidfds:
                os.close(fd)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("name", ["user_script.py", "user-script"])
def test_functions_and_classes_of_the_script_itself_work_in_workers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(MAIN_SCRIPT)
    done = run(tmp_path, name)

    assert (0, "") == (done.returncode, done.stderr)
    assert "refused: no" in done.stdout
    assert {"__main__", "__koboshi_main__"} == {
        line.split()[-1] for line in done.stdout.splitlines() if line.startswith("imported as")
    }


def test_functions_of_a_package_that_is_run_with_m_work_in_workers(tmp_path: Path) -> None:
    package = tmp_path / "user_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("NAME = 'other'\n")
    (package / "__main__.py").write_text("from .other import NAME\n" + MAIN_SCRIPT)
    done = run(tmp_path, "-m", "user_package")

    assert (0, "") == (done.returncode, done.stderr)
    assert "refused: no" in done.stdout


def test_functions_typed_at_the_command_line_are_refused_with_a_reason(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", MAIN_SCRIPT)

    assert 1 == done.returncode
    assert "function __main__.double cannot be sent to another process" in done.stderr
    assert "typed at a prompt or after -c" in done.stderr


def test_a_script_without_a_guard_is_told_about_it(tmp_path: Path) -> None:
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    done = run(tmp_path, "unguarded.py")

    assert 1 == done.returncode
    assert 'if __name__ == "__main__":' in done.stderr
