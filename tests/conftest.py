"""What holds for every test: how async tests run, and that nothing is left behind.

Async tests are plain `async def` functions; anyio's plugin runs them on asyncio. `--loop uvloop` runs the
same suite on uvloop.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import settings
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names here

# Seconds that something which is already on its way out may take to be gone.
GRACE = 2.0

# multiprocessing starts this helper at first need and keeps it until the interpreter ends.
TRACKER = "multiprocessing.resource_tracker"

# Inherited by every process of this run, so that one that lost its parent can still be found. A name that
# was made for another process is an outer run's, inside one of whose tests we are.
if not os.environ.get("KOBOSHI_TEST_RUN", "").startswith(f"{os.getpid()}-"):
    os.environ["KOBOSHI_TEST_RUN"] = f"{os.getpid()}-{os.urandom(8).hex()}"
RUN = os.environ["KOBOSHI_TEST_RUN"]

# A shared machine makes single examples slow now and then; the test's own timeout is the limit.
settings.register_profile("koboshi", deadline=None)
settings.load_profile("koboshi")


def pytest_addoption(parser: pytest.Parser) -> None:
    loops = ["asyncio", "uvloop"]
    parser.addoption("--loop", choices=loops, default=loops[0], help="the loop of async tests")


def pytest_configure() -> None:
    # The first loop of libuv opens a pipe for signals and keeps it until the process ends: no test's leak.
    uvloop.new_event_loop().close()


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The backend of anyio's plugin: always asyncio, on the loop that --loop names."""
    return "asyncio", {"use_uvloop": request.config.getoption("--loop") == "uvloop"}


# --- nothing is left behind --------------------------------------------------------------------------------


def children() -> dict[int, str]:
    """The child processes, zombies too, with their command lines."""
    found: dict[int, str] = {}
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids = [int(pid) for pid in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended; its children belong to another thread of this process now
        for pid in pids:
            command = command_line(pid)
            if TRACKER not in command:
                found[pid] = command
    return found


def command_line(pid: int) -> str:
    """What a process was started as; empty for a zombie, and for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptors() -> dict[int, str]:
    """The open file descriptors and what each refers to."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor that listed the directory
    tracker = sys.modules.get(TRACKER)
    if tracker is not None:
        found.pop(tracker._resource_tracker._fd, None)
    return found


def wait_for_children(left: dict[int, str], deadline: float) -> None:
    """Give processes that are ending the time to end: a test may return while a kill is under way."""
    for pid in left:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        finally:
            os.close(descriptor)


def left_behind(before: tuple[dict[int, str], set[threading.Thread], dict[int, str]]) -> list[str]:
    """What exists now and did not before, one line each, after everything had `GRACE` seconds to go."""
    old_children, old_threads, old_descriptors = before
    deadline = time.monotonic() + GRACE

    def new_children() -> dict[int, str]:
        return {pid: command for pid, command in children().items() if pid not in old_children}

    def new_descriptors() -> dict[int, str]:
        return {fd: what for fd, what in descriptors().items() if old_descriptors.get(fd) != what}

    wait_for_children(new_children(), deadline)
    for thread in set(threading.enumerate()) - old_threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if new_descriptors():
        # Reference cycles may still hold something that nobody can reach; what is unclosed in them warns.
        gc.collect()
    zombie = "(a zombie: nobody waited for it)"
    lines = [f"process {pid}: {command or zombie}" for pid, command in new_children().items()]
    lines += [f"thread {thread.name}" for thread in set(threading.enumerate()) - old_threads]
    return lines + [f"descriptor {fd}: {what}" for fd, what in new_descriptors().items()]


@pytest.fixture(autouse=True)
def hygiene() -> Iterator[None]:
    """Fail a test that leaves a child process, a thread or a descriptor."""
    before = (children(), set(threading.enumerate()), descriptors())
    yield
    left = left_behind(before)
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def orphans() -> dict[int, str]:
    """Processes of this run that are neither this process nor its children: their parent died first."""
    mark = f"KOBOSHI_TEST_RUN={RUN}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in entry.joinpath("environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = command_line(int(entry.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # gone, or another user's and so not ours
    for pid in children():
        found.pop(pid, None)
    return {pid: command for pid, command in found.items() if TRACKER not in command}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when a process outlived both its test and its parent."""
    found = orphans()
    if found:
        for pid, command in found.items():
            sys.stderr.write(f"\nleft by the tests: process {pid}: {command}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
