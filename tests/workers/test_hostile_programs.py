"""Programs that break what a pool stands on: descriptors, processes, its fork server, their own end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.workers import programs
from tests.workers.test_root_death import open_pidfds, wait_gone

pytestmark = pytest.mark.slow


# --- what a program lacks ------------------------------------------------------------------------------

USES = """
if __name__ == "__main__":
    with open(LOG, "a") as log, kb.Executor(2) as executor:
        values = list(executor.map(abs, [-1, -2, -3], timeout=30))
        crash = executor.submit(os._exit, 3).exception(30)
        executor.submit(print, "from a worker").result(30)
        print(values, crash.exit.describe(), executor.submit(abs, -4).result(30), file=log)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(tmp_path: Path, closed: str) -> None:
    log = tmp_path / "log"
    command = programs.write(tmp_path, f"LOG = {str(log)!r}\n" + USES)
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    done = subprocess.run(shell, env=programs.environment(), timeout=40, check=False)

    assert 0 == done.returncode
    assert "[1, 2, 3] exited with code 3 4\n" == log.read_text()


def test_neither_a_writable_folder_nor_room_for_files_is_needed(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("mounting a file system takes root and unshare")
    gone = tmp_path / "full"
    gone.mkdir()
    log = tmp_path / "log"
    script = f'mount -t tmpfs -o size=4k,ro none {gone} && cd {gone} && exec "$@"'
    text = f"import tempfile\ntempfile.tempdir = {str(gone)!r}\nLOG = {str(log)!r}\n" + USES
    done = programs.run(tmp_path, text, "unshare", "-m", "sh", "-c", script, "sh")

    assert (0, "") == (done.returncode, done.stderr)
    assert "[1, 2, 3] exited with code 3 4\n" == log.read_text()


def test_a_program_without_descriptors_is_told_so_and_nothing_leaks(tmp_path: Path) -> None:
    text = """
import gc, resource

def attempt(spare):
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, 4096))
    try:
        with kb.Executor(2) as executor:
            executor.submit(abs, -1).result(30)
        return "fine"
    except kb.ExecutorBroken as error:
        assert isinstance(error.__cause__, kb.WorkerStartFailed), error
        return "ulimit -n" in str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
        gc.collect()
        assert used == len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    with kb.Executor(1) as executor:
        executor.submit(abs, 1).result(30)  # imports what it needs
    # The event loop itself takes three, and says so itself when it has not got them.
    outcomes = [attempt(spare) for spare in range(3, 16)]
    print(outcomes[0], outcomes[-1], set(outcomes) == {True, "fine"})
"""
    done = programs.run(tmp_path, text)

    assert (0, "True fine True\n", "") == (done.returncode, done.stdout, done.stderr)


def without_privileges() -> list[str]:
    """A command under which a limit on processes holds: it never does for root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("limits on processes do not hold for root, and there is no setpriv")
    caps = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    drop = ["--bounding-set", "-sys_admin,-sys_resource"]
    return ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *caps, *drop]


def test_a_shortage_of_processes_that_passes_costs_nothing_and_one_that_stays_is_told(tmp_path: Path) -> None:
    text = """
import resource
from koboshi.workers.pool import _boot

if __name__ == "__main__":
    executor = kb.Executor(1)
    _, server = executor.submit(worker_jobs.parent_pids).result(30)
    tried, sleep = threading.Event(), _boot.asyncio.sleep

    async def pause(seconds):
        tried.set()
        await sleep(seconds)

    _boot.asyncio.sleep = pause
    resource.prlimit(server, resource.RLIMIT_NPROC, (1, 4096))
    print(executor.submit(os._exit, 3).exception(30).exit.name)
    assert tried.wait(30)
    resource.prlimit(server, resource.RLIMIT_NPROC, (4096, 4096))
    print(executor.submit(abs, -1).result(30))

    resource.prlimit(server, resource.RLIMIT_NPROC, (1, 4096))
    print(executor.submit(os._exit, 3).exception(30).exit.name)
    try:
        print(executor.submit(abs, -1).exception(30))
    except kb.ExecutorBroken as error:
        print(error)
    executor.shutdown()
"""
    done = programs.run(tmp_path, text, *without_privileges())

    lines = done.stdout.splitlines()
    assert ["exit 3", "1", "exit 3"] == lines[:3], done.stderr
    assert "Resource temporarily unavailable" in lines[3]
    assert 0 == done.returncode


# --- its fork server -----------------------------------------------------------------------------------


def test_a_fork_server_that_is_stopped_goes_on_when_it_is_needed(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    with kb.Executor(2) as executor:
        _, server = executor.submit(worker_jobs.parent_pids).result(30)
        began = time.monotonic()
        for _ in range(5):
            os.kill(server, signal.SIGSTOP)
            crashes = [executor.submit(os._exit, 3) for _ in range(2)]
            print({crash.exception(30).exit.name for crash in crashes}, executor.submit(abs, -1).result(30))
        print(time.monotonic() - began < 5)
"""
    done = programs.run(tmp_path, text)

    assert (0, "{'exit 3'} 1\n" * 5 + "True\n", "") == (done.returncode, done.stdout, done.stderr)


# --- the program's own ways ----------------------------------------------------------------------------


def test_a_callback_that_ends_its_thread_does_not_end_the_executor(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    with kb.Executor(1) as executor:
        for kind in (ValueError, GeneratorExit, KeyboardInterrupt, SystemExit):
            def callback(_):
                raise kind("from a callback")

            first = executor.submit(executor_jobs.compute, 0.1)
            first.add_done_callback(callback)
            others = [executor.submit(abs, -number) for number in range(5)]
            print(first.result(30), [each.result(30) for each in others])
        executor.submit(executor_jobs.compute, 0.3)
        cancelled = [executor.submit(abs, -1) for _ in range(3)]
        for each in cancelled:
            each.add_done_callback(callback)
        executor.shutdown(cancel_futures=True)
        print([each.cancelled() for each in cancelled])
"""
    done = programs.run(tmp_path, text)

    assert (0, "None [0, 1, 2, 3, 4]\n" * 4 + "[True, True, True]\n") == (done.returncode, done.stdout), (
        done.stderr
    )
    assert "SystemExit: from a callback" in done.stderr


HANGING = """
def hang(pipe):
    with open(pipe, "w") as file:
        file.write("up")
    threading.Event().wait()

if __name__ == "__main__":
    os.mkfifo(PIPE)
    executor = kb.Executor(1, initializer=hang, initargs=(PIPE,))
    future = executor.submit(abs, -1)
    with open(PIPE) as pipe:
        assert pipe.read() == "up"
"""


def test_a_shutdown_that_cancels_does_not_wait_for_ever_for_an_initializer(tmp_path: Path) -> None:
    text = f"PIPE = {str(tmp_path / 'pipe')!r}" + HANGING
    text += "    executor.shutdown(cancel_futures=True)\n    print(future.cancelled())\n"
    done = programs.run(tmp_path, text)

    assert (0, "True\n", "") == (done.returncode, done.stdout, done.stderr)


def test_ctrl_c_does_not_wait_for_an_initializer(tmp_path: Path) -> None:
    text = f"PIPE = {str(tmp_path / 'pipe')!r}" + HANGING
    text += """
    try:
        with executor:
            signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("interrupted", future.cancelled())
"""
    done = programs.run(tmp_path, text)

    assert (0, "interrupted True\n", "") == (done.returncode, done.stdout, done.stderr)


def test_ctrl_c_reaches_the_program_and_no_worker(tmp_path: Path) -> None:
    text = """
if __name__ == "__main__":
    with kb.Executor(2) as executor:
        job = executor.submit(executor_jobs.compute, 0.5)
        executor.submit(abs, -1).result(30)
        try:
            print("up")
            while True:
                time.sleep(30)
        except KeyboardInterrupt:
            print(job.exception(30), executor.submit(abs, -2).result(30))
"""
    with programs.running(tmp_path, text) as program:
        assert program.stdout is not None
        assert "up\n" == program.stdout.readline()
        os.killpg(program.pid, signal.SIGINT)

        assert "None 2\n" == program.stdout.read()
        assert 0 == program.wait(30)


@pytest.mark.parametrize(
    "child", ["pass", "executor.shutdown()", "del executor", "kb.Executor(1).submit(abs, 1).result(9)"]
)
def test_a_program_may_fork_beside_its_executor_and_either_may_end_as_it_likes(
    tmp_path: Path, child: str
) -> None:
    text = f"""
import gc, warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, which is the point
    executor = kb.Executor(1)
    executor.submit(abs, -1).result(30)
    pid = os.fork()
    if pid == 0:
        {child}
        gc.collect()
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), executor.submit(abs, -2).result(30))
    executor.shutdown()
"""
    done = programs.run(tmp_path, text)

    assert (0, "7 2\n", "") == (done.returncode, done.stdout, done.stderr)


def test_many_threads_submit_cancel_and_crash_at_once_and_each_gets_its_own(tmp_path: Path) -> None:
    text = """
import concurrent.futures

def job(number):
    if number % 40 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number

def use(executor, first, wrong):
    for number in range(first, first + 200):
        future = executor.submit(job, number)
        if number % 7 == 0:
            future.cancel()
        try:
            fine = future.result(30) == number
        except concurrent.futures.CancelledError:
            fine = number % 7 == 0
        except kb.WorkerCrashed:
            fine = number % 40 == 0
        if not fine:
            wrong.append(number)

if __name__ == "__main__":
    wrong = []
    with kb.Executor(2) as executor:
        threads = [threading.Thread(target=use, args=(executor, 1000 * n, wrong)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(wrong)
"""
    done = programs.run(tmp_path, text)

    assert (0, "[]\n", "") == (done.returncode, done.stdout, done.stderr)


def test_shutdowns_from_several_threads_while_others_submit_leave_no_job_without_an_outcome(
    tmp_path: Path,
) -> None:
    text = """
def submit(executor, futures, begun):
    try:
        while True:
            futures.append(executor.submit(abs, -1))
            if len(futures) == 50:
                begun.set()
    except RuntimeError:
        begun.set()

if __name__ == "__main__":
    executor = kb.Executor(2)
    lists, begun = [[], [], []], threading.Event()
    threads = [threading.Thread(target=submit, args=(executor, each, begun)) for each in lists]
    ends = [
        threading.Thread(target=executor.shutdown, kwargs={"wait": wait, "cancel_futures": cancel})
        for wait, cancel in ((True, False), (False, True), (True, True))
    ]
    for thread in threads:
        thread.start()
    begun.wait()
    for thread in ends:
        thread.start()
    for thread in (*threads, *ends):
        thread.join()
    executor.shutdown()
    print(all(future.done() for each in lists for future in each))
"""
    done = programs.run(tmp_path, text)

    assert (0, "True\n", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("ending", "status"),
    [("del executor", 0), ("executor.shutdown(wait=False)", 0), ("raise SystemExit(4)", 4),
     ("os._exit(5)", 5), ("threading.Thread(target=futures[0].result).start()", 0)],
)  # fmt: skip
def test_a_program_may_end_with_jobs_in_hand_and_nothing_survives_it(
    tmp_path: Path, ending: str, status: int
) -> None:
    text = f"""
if __name__ == "__main__":
    executor = kb.Executor(2)
    executor.submit(abs, -1).result(30)
    futures = [executor.submit(executor_jobs.compute, 0.2) for _ in range(4)]
    print("up")
    sys.stdin.readline()
    {ending}
"""
    command = programs.write(tmp_path, text)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=programs.environment(), text=True, **pipes) as program:  # type: ignore[call-overload]
        assert "up\n" == program.stdout.readline()
        pidfds = open_pidfds(programs.descendants(program.pid))
        _, errors = program.communicate("go on\n", timeout=30)
        try:
            assert (status, "") == (program.returncode, errors)
            assert 3 == len(pidfds)
            assert [] == wait_gone(pidfds, 1.0)
        finally:
            for fd in pidfds:
                os.close(fd)


# --- a root that is killed -----------------------------------------------------------------------------

MOMENTS = {
    "while a worker is set up": "kb.Executor(1, initializer=time.sleep, initargs=(600,)).submit(print)",
    "with workers of a worker": "kb.Executor(1).submit(hostile_jobs.leave_an_executor_inside).result(30)",
    "with a job that started a program": "kb.Executor(1).submit(worker_jobs.start_subprocess).result(30)",
    "with workers that take no notice": "kb.Executor(1).submit(hostile_jobs.ignore_every_signal).result(30)",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_root_takes_everybody_along_within_a_second(tmp_path: Path, moment: str) -> None:
    # The first line says how deep the processes go when the moment has come.
    text = f"""
if __name__ == "__main__":
    kept = kb.Executor(1)
    kept.submit(abs, -1).result(30)
    other = {MOMENTS[moment]}
    print("up")
    time.sleep(60)
"""
    with programs.running(tmp_path, text) as program:
        assert program.stdout is not None
        assert "up\n" == program.stdout.readline()
        pidfds = open_pidfds(programs.descendants(program.pid))
        try:
            program.kill()
            assert len(pidfds) >= 3
            assert [] == wait_gone(pidfds, 1.0)
        finally:
            for fd in pidfds:
                os.close(fd)
