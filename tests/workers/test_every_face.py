"""What a job does to itself, its worker or its answer costs that job alone, behind every face of a pool."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.workers import hostile_jobs as jobs
from tests.workers import worker_jobs
from tests.workers.faces import FACES, Before, face_of

import koboshi as kb

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]

SIZE = 2
# Seconds: for jobs that would run for ever; and for all others, whose time is the machine's affair.
TIMEOUT = 0.6
AMPLE = 30.0
OVERDUE = f"(it was past a job's timeout of {TIMEOUT:g} s)"


@dataclass(frozen=True)
class Case:
    """A job, what its caller gets, and how its worker ends: one of several ways, or None when it lives on."""

    job: Callable[..., Any]
    args: tuple[Any, ...] = ()
    error: type[BaseException] | None = None
    exit: str | tuple[str, ...] | None = None
    raised: type[BaseException] | None = None

    @property
    def name(self) -> str:
        words = [getattr(each, "__name__", str(each)) for each in self.args]
        return "-".join([self.job.__name__, *words])[:60]

    @property
    def timeout(self) -> float:
        """Only where the timeout is what ends the job is it short."""
        return TIMEOUT if self.exit in (KILLED, OVERWRITTEN) else AMPLE


CRASH, OVER, REMOTE = kb.WorkerCrashed, kb.JobTimeout, kb.RemoteError
KILLED = f"was killed by SIGKILL {OVERDUE}"
SEGFAULT = "was killed by SIGSEGV"
# The pool looks into the journal whenever it likes, so it may see this before the crash that follows.
OVERWRITTEN = "was killed by SIGKILL (its journal was overwritten"
GARBAGE = "was killed by SIGKILL (it sent garbage"

CASES = [
    # It leaves something in its worker, which goes on.
    Case(jobs.fork_a_child_that_comes_back),
    Case(jobs.fork_a_child_that_stays),
    Case(jobs.leave_a_thread),
    Case(jobs.leave_a_daemon_thread_that_prints),
    Case(jobs.close_standard_streams),
    Case(jobs.drop_standard_streams),
    Case(jobs.stand_in_a_folder_that_is_gone),
    Case(jobs.ignore_every_signal),
    Case(jobs.mask_every_permission),
    Case(jobs.stop_the_clock),
    Case(jobs.leave_an_atexit_that_exits),
    Case(jobs.run_an_executor_inside, (False,)),
    Case(jobs.run_an_executor_inside, (True,)),
    Case(jobs.leave_an_executor_inside),
    # It raises what is no ordinary error.
    Case(jobs.exit_now, (), REMOTE, raised=SystemExit),
    Case(jobs.exit_with_an_object, (), REMOTE),
    Case(jobs.raise_kind, (KeyboardInterrupt,), REMOTE),
    Case(jobs.raise_kind, (GeneratorExit,), REMOTE, raised=GeneratorExit),
    Case(jobs.raise_kind, (jobs.Base,), REMOTE, raised=jobs.Base),
    Case(jobs.raise_kind, (jobs.Ends,), REMOTE, raised=jobs.Ends),
    Case(jobs.raise_kind, (jobs.EndsAsync,), REMOTE, raised=jobs.EndsAsync),
    Case(jobs.raise_cancelled, (), REMOTE, raised=asyncio.CancelledError),
    Case(jobs.raise_huge, (), jobs.WithHugeArguments),
    Case(jobs.raise_with_a_cause_that_cannot_be_sent, (), REMOTE),
    Case(jobs.raise_with_odd_notes, (), REMOTE),
    Case(jobs.raise_group, (), REMOTE),
    Case(jobs.raise_base_group, (), REMOTE, raised=BaseExceptionGroup),
    Case(jobs.raise_breaking, (jobs.FailsWhilePacked, "leave"), REMOTE),
    Case(jobs.raise_breaking, (jobs.FailsWhilePacked, "interrupt"), REMOTE),
    Case(jobs.raise_breaking, (jobs.FailsWhilePacked, "unprintable"), REMOTE),
    Case(jobs.raise_breaking, (jobs.FailsWhileUnpacked, "leave"), REMOTE),
    Case(jobs.raise_breaking, (jobs.FailsWhilePacked, "hang"), OVER, KILLED),
    Case(jobs.raise_breaking, (jobs.FailsWhilePacked, "exit"), CRASH, "exited with code 11"),
    Case(jobs.raise_breaking, (jobs.FailsWhileUnpacked, "exit"), CRASH, "exited with code 11"),
    Case(jobs.recurse, (), RecursionError),
    # Its result cannot travel.
    Case(jobs.give_breaking, ("leave",), REMOTE),
    Case(jobs.give_breaking, ("interrupt",), REMOTE),
    Case(jobs.give_breaking, ("hang",), OVER, KILLED),
    Case(jobs.give_breaking, ("exit",), CRASH, "exited with code 11"),
    Case(jobs.give_deep, (), kb.ResultNotPicklable),
    Case(jobs.give_huge),
    # It breaks its worker's ties.
    Case(jobs.kill_own_group, (), CRASH, "was killed by SIGKILL"),
    Case(jobs.exit_by_signal, (signal.SIGALRM,), CRASH, "was killed by SIGALRM"),
    Case(jobs.exit_by_signal, (signal.SIGPIPE,), CRASH, "was killed by SIGPIPE"),
    Case(jobs.exit_by_signal, (signal.SIGINT,), CRASH, "was killed by SIGINT"),
    Case(jobs.exit_by_signal, (signal.SIGHUP,), CRASH, "was killed by SIGHUP"),
    Case(jobs.exit_by_signal, (signal.SIGABRT,), CRASH, "was killed by SIGABRT"),
    Case(jobs.write_to_every_socket, (), CRASH, GARBAGE),
    Case(jobs.send_a_frame_of_our_own, (b"no pickle",), CRASH, GARBAGE),
    Case(jobs.send_a_frame_of_our_own, (7,), CRASH, GARBAGE),
    Case(jobs.send_a_frame_of_our_own, ((1 << 40, [1]),), CRASH, GARBAGE),
    Case(jobs.send_a_frame_of_our_own, ((0, list(range(10_000))),), CRASH, GARBAGE),
    *(
        Case(jobs.overwrite_the_journal, (how, worker_jobs.segfault), CRASH, (SEGFAULT, OVERWRITTEN))
        for how in ("zeros", "ones", "too many", "no pickle", "beyond the end")
    ),
    *(
        Case(jobs.overwrite_the_journal, (how, worker_jobs.spin_in_c), CRASH, OVERWRITTEN)
        for how in ("zeros", "ones", "too many", "no pickle", "beyond the end")
    ),
    # The causes of `test_any_crash`, here for the other faces.
    Case(worker_jobs.raise_signal, (9,), CRASH, "was killed by SIGKILL"),
    Case(worker_jobs.raise_signal, (15,), CRASH, "was killed by SIGTERM"),
    Case(worker_jobs.segfault, (), CRASH, SEGFAULT),
    Case(worker_jobs.exit_hard, (3,), CRASH, "exited with code 3"),
    Case(worker_jobs.exit_hard, (0,), CRASH, "exited with code 0"),
    Case(worker_jobs.close_every_descriptor, (), CRASH, "was killed by SIGKILL (it had closed its socket)"),
    Case(worker_jobs.spin_in_python, (), OVER, KILLED),
    Case(worker_jobs.spin_in_c, (), OVER, KILLED),
    Case(worker_jobs.deadlock, (), OVER, KILLED),
    Case(worker_jobs.stop_self, (), OVER, KILLED),
    Case(worker_jobs.ignore_sigterm, (), OVER, KILLED),
    Case(jobs.swallow_cancellation, (), OVER, KILLED),
    Case(worker_jobs.raise_memory_error_for_real, (), MemoryError),
    Case(worker_jobs.unpicklable, (), kb.ResultNotPicklable),
    Case(worker_jobs.raise_two_arguments, (), REMOTE),
]  # fmt: skip


@pytest.mark.parametrize("face_name", FACES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_it_costs_its_own_job_and_nothing_else(
    case: Case, face_name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with face_of(face_name, SIZE, timeout=case.timeout) as face:
        before = await Before.of(face)
        others = [asyncio.create_task(face.run(worker_jobs.add_one, number)) for number in range(100)]
        error = await face.error(case.job, *case.args)

        if face_name == "actors" and case.raised:
            # The reason of an actor's end is the error itself, which is not raised in anybody.
            assert case.raised is type(error)
        else:
            assert (case.error or type(None)) is type(error), repr(error)
        if case.exit is not None:
            assert isinstance(error, kb.WorkerCrashed)
            assert error.exit.pid in before.pids
            assert error.exit.describe().startswith(case.exit)
        assert list(range(1, 101)) == await asyncio.gather(*others)
        await before.check_same(face, deaths=0 if case.exit is None else 1)


@pytest.mark.parametrize("face_name", FACES)
async def test_a_worker_that_memory_was_short_for_is_told_with_the_most_that_it_had(face_name: str) -> None:
    # A substitute: the kernel's killer too sends SIGKILL and nothing else, and to have it strike for real
    # takes a memory cgroup that a test may write to. What tells it from other kills is the peak of memory.
    size = 64 << 20
    async with face_of(face_name, SIZE) as face:
        before = await Before.of(face)
        error = await face.error(worker_jobs.allocate_and_die, size)

        assert isinstance(error, kb.WorkerCrashed)
        assert "was killed by SIGKILL" == error.exit.describe()
        assert error.exit.peak_memory is not None
        assert size < error.exit.peak_memory < 4 * size
        await before.check_same(face, deaths=1)
