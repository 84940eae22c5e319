"""The tests that CPython has for executors, run with `kb.Executor`.

They come with the interpreter: as the package `test.test_concurrent_futures`, or the module of that name
before 3.12. Some distributions leave them out or ship them apart (Debian: libpython3.11-testsuite); then
`KOBOSHI_CPYTHON_TESTS=DIRECTORY` names the directory that has them. Without them all of this is skipped.
`CANNOT_APPLY` lists what is left out, and why.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import koboshi as kb

pytestmark = pytest.mark.slow

#: Debian's place, for an interpreter that was built without its tests.
DISTRIBUTION = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/test")

# Test by test of the classes below, and why. Each "here" names the test that does the same with our names.
# ProcessPoolShutdownTest is ExecutorShutdownTest with four more, all of which join `_processes` and
# `_executor_manager_thread`; here: test_shutdown_leaves_no_thread_and_repeats_without_harm and
# test_an_executor_that_is_dropped_finishes_its_jobs_and_is_gone. FutureTests are of the class Future,
# which is the standard library's own, and the classes of thread pools look into threads.
CANNOT_APPLY = {
    "test_killed_child": "expects the executor to break; here: test_a_worker_killed_while_idle_costs_nothing",
    "test_traceback": "compares with the private class of the cause; "
    "here: test_an_exception_crosses_with_its_remote_traceback",
    "test_saturation": "counts `_processes`, and sends a semaphore, which only a fork inherits; "
    "here: test_results_come_from_other_processes_and_maps_keep_their_order",
    "test_idle_process_reuse_one": "counts `_processes`: there they start when they are needed",
    "test_idle_process_reuse_multiple": "as above",
    "test_max_tasks_per_child": "counts `_processes`; "
    "here: test_a_worker_is_replaced_after_its_share_of_jobs",
    "test_max_tasks_per_child_defaults_to_spawn_context": "there is one way to start a worker here",
    "test_ressources_gced_in_workers": "its argument talks to a manager, whose key only workers of "
    "multiprocessing inherit; here: test_arguments_of_a_job_are_gone_when_it_is_done",
    "test_python_finalization_error": "replaces the way that multiprocessing starts processes",
    "test_interpreter_shutdown": "its program imports the class from concurrent.futures; "
    "here: test_a_program_that_ends_without_shutdown_finishes_its_jobs",
    "test_submit_after_interpreter_shutdown": "as above; "
    "here: test_nothing_is_accepted_while_the_interpreter_ends",
    "test_hang_gh83386": "as above; here: test_a_program_may_end_after_a_shutdown_that_did_not_wait",
    "test_shutdown_deadlock": "expects the executor to break; "
    "here: test_a_crash_after_shutdown_costs_its_job_and_shutdown_ends",
    "test_shutdown_deadlock_pickle": "looks into ProcessPoolExecutor's threads; "
    "here: test_an_argument_that_cannot_be_packed_does_not_hold_up_a_shutdown_without_waiting",
    "test_crash_big_data": "expects the executor to break; "
    "here: test_a_crash_while_a_big_argument_is_on_its_way_costs_each_such_job_alone",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "replaces ProcessPoolExecutor's wake-up pipe; "
    "here: test_a_full_wake_up_pipe_holds_nobody_up",
}

# What becomes of the one job at each crash point of CPython's. Where CPython says BrokenProcessPool, the
# whole executor is lost there. Where it says SystemExit, it is raised in whoever asks for the result, and
# ends that program too; here it is a RemoteError that names it.
CRASH_POINTS: dict[str, type[BaseException]] = {
    "test_error_at_task_pickle": kb.NotPicklable,
    "test_exit_at_task_unpickle": kb.RemoteError,
    "test_error_at_task_unpickle": Exception,
    "test_crash_at_task_unpickle": kb.WorkerCrashed,
    "test_crash_during_func_exec_on_worker": kb.WorkerCrashed,
    "test_exit_during_func_exec_on_worker": kb.RemoteError,
    "test_error_during_func_exec_on_worker": RuntimeError,
    "test_crash_during_result_pickle_on_worker": kb.WorkerCrashed,
    "test_exit_during_result_pickle_on_worker": kb.RemoteError,
    "test_error_during_result_pickle_on_worker": kb.ResultNotPicklable,
    "test_error_during_result_unpickle_in_result_handler": kb.ResultNotPicklable,
    "test_exit_during_result_unpickle_in_result_handler": kb.ResultNotPicklable,
}


def suite() -> list[ModuleType]:
    """The modules that have the mixins; empty when there are none."""
    name = "test.test_concurrent_futures"
    given = os.environ.get("KOBOSHI_CPYTHON_TESTS")
    places = [Path(given)] if given else [DISTRIBUTION]
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError:
        place = next((each for each in places if any(each.glob("test_concurrent_futures*"))), None)
        if place is None:
            return []
        # Behind everything else, so that nothing of it hides a module; workers get the same path.
        sys.path.append(str(place))
        name = "test_concurrent_futures"
        found = importlib.import_module(name)
    if not hasattr(found, "__path__"):
        return [found]
    tests = ("wait", "as_completed", "shutdown", "init", "deadlock", "process_pool")
    parts = ("util", "executor", *(f"test_{each}" for each in tests))
    return [importlib.import_module(f"{name}.{part}") for part in parts]


SUITE = suite()
MISSING = (
    f"CPython's own tests of executors are NOT RUN: Python {sys.version.split()[0]} at {sys.prefix} "
    "came without test.test_concurrent_futures; install its test package, "
    "or name its directory in KOBOSHI_CPYTHON_TESTS"
)


def part(name: str) -> Any:
    """A class of the suite."""
    return next(getattr(module, name) for module in SUITE if hasattr(module, name))


class Accepting(kb.Executor):
    """Takes the one argument that only tells ProcessPoolExecutor how to start its workers."""

    def __init__(self, *args: Any, mp_context: object = None, **options: Any) -> None:
        super().__init__(*args, **options)


def check_crash(self: Any, error: object, func: Any, *args: Any, ignore_stderr: bool = False) -> None:
    """In place of CPython's: one job fails as it should, and the same executor answers fifty more."""
    self.addCleanup(setattr, sys, "stderr", sys.stderr)
    future = self.executor.submit(func, *args)
    with pytest.raises(CRASH_POINTS[self._testMethodName]):
        future.result(timeout=30)
    assert list(range(50)) == list(self.executor.map(int, range(50), timeout=30))


def case(mixin: str) -> type[unittest.TestCase]:
    """A test case of one mixin with our executor."""
    inside: dict[str, Any] = {
        "executor_type": Accepting,
        "get_context": lambda self: multiprocessing.get_context("spawn"),
        "_check_crash": check_crash,
        "__module__": __name__,
    }
    for name, why in CANNOT_APPLY.items():
        if hasattr(part(mixin), name):
            inside[name] = unittest.skip(f"cannot apply: {why}")(lambda self: None)
    bases = (part(mixin), part("ExecutorMixin"), part("BaseTestCase"))
    # A mixin may be an ExecutorMixin already.
    bases = tuple(each for each in bases if each is bases[0] or not issubclass(bases[0], each))
    return type(f"{mixin}OfCPython", bases, inside)


MIXINS = (
    "ProcessPoolExecutorTest",  # and with it ExecutorTest
    "WaitTests",
    "AsCompletedTests",
    "ExecutorShutdownTest",
    "InitializerMixin",
    "FailingInitializerMixin",
    "ExecutorDeadlockTest",
)
if SUITE:
    for mixin in MIXINS:
        globals()[f"{mixin}OfCPython"] = case(mixin)


@pytest.mark.skipif(bool(SUITE), reason="they are run")
def test_the_tests_of_cpython_are_here() -> None:
    pytest.skip(MISSING)


@pytest.mark.skipif(not SUITE, reason=MISSING)
def test_every_test_that_is_left_out_exists() -> None:
    there_are = {name for mixin in MIXINS for name in dir(part(mixin)) if name.startswith("test_")}
    # The older suites lack the newest of them.
    newest = {"test_crash_big_data", "test_python_finalization_error"}
    newer = newest | {name for name in CANNOT_APPLY if "gh" in name}

    assert set() == (set(CANNOT_APPLY) | set(CRASH_POINTS)) - there_are - newer
