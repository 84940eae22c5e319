"""A blocked node is seen and survived; a busy one is left alone; nothing outlives its root."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import ask
from tests.workers.nodes.agents import Agent

import koboshi as kb

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def blocked_event(events: asyncio.Queue[kb.events.Event]) -> kb.events.LoopBlocked:
    async with asyncio.timeout(10):
        while True:
            event = await events.get()
            if isinstance(event, kb.events.LoopBlocked) and event.process.startswith("node "):
                return event


@pytest.mark.parametrize(
    ("block", "args", "shown"),
    [
        (Agent.spin, (60.0,), "in spin"),
        (Agent.spin_in_c, (), "in spin_in_c"),
        (Agent.stop_process, (), "stopped"),
    ],
    ids=["Python loop", "C call", "SIGSTOP"],
)
async def test_a_blocked_node_is_reported_with_its_stack_killed_and_restarted(
    block: Any, args: tuple[Any, ...], shown: str
) -> None:
    events: asyncio.Queue[kb.events.Event] = asyncio.Queue()
    place = kb.own_process(report_after=0.3, unresponsive_after=1.0)
    async with kb.Supervisor(kb.child(Agent).options(id="a", on=place)) as tree:
        stop = kb.listen(events.put_nowait)
        ref = tree.ref(Agent, "a")
        pid = await ref.call(Agent.pid)
        ref.cast(block, *args)
        event = await blocked_event(events)
        lost = await asyncio.wait_for(kb.ActorRef.wait_exit((await tree.which_children())[0].ref), 10)  # type: ignore[arg-type]
        await tree.wait_ready()
        stop()

        assert shown in event.stack
        assert event.seconds >= 0.3
        assert isinstance(lost, kb.NoConnection)
        assert isinstance(lost.cause, kb.WorkerExit)
        assert "did not answer" in lost.cause.detail
        assert pid != await ref.call(Agent.pid)


async def test_a_node_that_is_merely_busy_is_reported_and_not_killed() -> None:
    events: asyncio.Queue[kb.events.Event] = asyncio.Queue()
    async with kb.Supervisor(kb.node("n", report_after=0.2), kb.child(Agent).options(id="a", on="n")) as tree:
        stop = kb.listen(events.put_nowait)
        ref = tree.ref(Agent, "a")
        pid = await ref.call(Agent.pid)
        busy = asyncio.create_task(ref.within(None).call(Agent.spin, 1.0))
        event = await blocked_event(events)
        await busy
        stop()

        assert "node n" == event.process
        assert pid == await ref.call(Agent.pid)


async def test_a_root_that_was_held_up_itself_blames_nobody() -> None:
    place = kb.own_process(report_after=0.2, unresponsive_after=0.4)
    async with kb.Supervisor(kb.child(Agent).options(id="a", on=place)) as tree:
        ref = tree.ref(Agent, "a")
        pid = await ref.call(Agent.pid)
        for _ in range(2):
            until = time.monotonic() + 0.6
            while time.monotonic() < until:  # the questions and answers of this time lie unread
                pass
            await asyncio.sleep(0.3)

        assert pid == await ref.call(Agent.pid)


async def test_statistics_of_a_node_say_what_lives_on_it() -> None:
    async with kb.Supervisor(kb.node("n")) as tree:
        node = tree.ref(kb.WorkerNode, "n")
        before = await node.call(kb.WorkerNode.statistics)
        for number in range(3):
            await tree.start_child(kb.child(Agent).options(id=number, on="n"))

        async def all_three() -> kb.WorkerNodeStatistics | None:
            found = await node.call(kb.WorkerNode.statistics)
            return found if found.processes == 3 else None

        after = await ask(all_three, "a node that says what lives on it, which it does by the clock", bound=5)
        assert ("n", 0) == (before.name, before.processes)
        assert (3, before.pid, 0) == (after.processes, after.pid, after.unsent)
        assert 0 <= after.silent < 2


PROGRAM = """
import asyncio, os, sys
sys.path.append({root!r})
import koboshi as kb
from tests.workers.nodes.agents import Agent

async def main():
    async with kb.Supervisor(
        kb.node("n1"), kb.child(Agent).options(id="a", on="n1"),
        kb.child(Agent).options(id="b", on="process", shutdown=0.5),
        kb.child(Agent).options(id="c", on="process", shutdown=0.5),
    ) as tree:
        pids = [await tree.ref(Agent, name).call(Agent.pid) for name in "abc"]
        tree.ref(Agent, "b").cast(Agent.spin_in_c)
        tree.ref(Agent, "c").cast(Agent.stop_process)
        print(*pids, flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    kb.run(main)
"""


def wait_gone(pids: list[int], seconds: float) -> list[int]:
    """Those that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    left: list[int] = []
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            left.append(pid)
        os.close(descriptor)
    return left


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_node_outlives_its_root(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(root=str(ROOT)))
    program = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    program.send_signal(number)
    program.wait(15)
    program.stdout.close()

    assert 3 == len(pids)
    assert [] == wait_gone(pids, 2.0)


def test_a_program_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import koboshi as kb\n"
        "class A(kb.Actor):\n    pass\n"
        "async def main():\n"
        "    async with kb.Supervisor(kb.child(A).options(on='process')):\n        pass\n"
        "kb.run(main)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30)

    assert done.returncode != 0
    assert 'if __name__ == "__main__"' in done.stderr
