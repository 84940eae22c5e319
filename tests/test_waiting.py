"""The suite's own promise: no test lets real time pass in the hope that something has happened by then."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Whoever sleeps so long does not wait for anything: it stands still until it is cancelled or killed.
STANDS_STILL = 30.0

# What gives a function virtual time: koboshi's own ways, and those of the suite that use them.
VIRTUAL = {"run_virtual", "virtual_time", "koboshi_virtual", "VirtualLoop", "within", "life"}

# Marks of functions whose sleep is the length of the work that is tested.
WORK = {"message", "task", "query", "event", "when"}

# Sleeps that are no waiting, by file and function. Where nothing else is said the time is that of the work.
ALLOWED = {
    "waiting.py": {
        "ask": "the one place that asks again and again",
        "ask_blocking": "the same without an event loop",
    },
    # In virtual time, which the module of the caller sets up.
    "durable/sagas/lives.py": {"after": "the length of a step"},
    "durable/sagas/test_own_work.py": {"work": "of a saga, or of who looks at it", "run": "work of a saga"},
    "durable/sagas/test_stubborn.py": {"run": "a saga that goes on"},
    "durable/sagas/test_taken_over.py": {"hang": "a step that does not end"},
    "kernel/test_supervisor_model.py": {"time_passes": "a rule of the machine moves the clock"},
    "kernel/tree_actors.py": {"on_stop": "how long a member takes to stop"},
    "otp/tasks/scenes.py": {"after": "the length of a task"},
    "otp/tasks/test_task_stream.py": {"__call__": "the length of an item", "source": "between two items"},
    "otp/tasks/test_task_stream_ends.py": {
        "__call__": "the length of an item",
        "slow_to_leave": "of its end",
    },
    # The time is what the test is about.
    "contracts/stores/proxy.py": {"_forth": "a network that is late"},
    "kernel/test_fairness.py": {"test_actors_that_never_rest_starve_nobody": "a timer that must not starve"},
    "kernel/test_watchdog.py": {
        "test_timers_are_not_starved_by_many_messages_of_a_millisecond_each": "a timer that must not starve"
    },
    "workers/nodes/test_health.py": {
        "test_a_root_that_was_held_up_itself_blames_nobody": "how long the root is free between two hold-ups"
    },
    # What a handler of these tests awaits while others go on, a moment long.
    "kernel/test_libraries.py": {"slow": "how long a page takes"},
    "kernel/test_task_like.py": {
        "answers": "a handler",
        "body": "a handler",
        "fails": "a task of a handler",
        "in_slow_cleanup": "a handler that cleans up",
    },
    "otp/statemachine/test_replies.py": {"not_now": "a handler", "serve_it": "a handler"},
    # It takes the spare in the very round of the loop in which that is ready.
    "workers/test_spares.py": {
        "test_a_spare_that_is_taken_the_moment_it_is_ready_is_replaced": "no other wait ends so early"
    },
    # Loads of real programs for minutes, no tests: pauses drawn by chance, and clients that ask other programs again.
    "chaos/client.py": dict.fromkeys(("observe", "_kept", "_work", "_perform", "ask"), "a client asks again"),
    "chaos/fleet.py": {"_keep": "before a host is started again", "stop": "until all are killed"},
    "chaos/nemesis.py": dict.fromkeys(
        ("_flow", "_pause", "_break_down"), "how long a fault or the work lasts"
    ),
    "soak/soak.py": {"_kill": "between two kills"},
}


def functions_around(path: list[ast.AST]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions that a node is in, from the outermost to the innermost."""
    return [each for each in path if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_virtual(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it runs what is in it in virtual time, or is itself run so."""
    return any(
        isinstance(each, ast.Name | ast.Attribute)
        and (each.id if isinstance(each, ast.Name) else each.attr) in VIRTUAL
        for each in ast.walk(function)
    )


def is_work(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is what an actor, a queue or a machine runs."""
    names = {
        each.attr
        for mark in function.decorator_list
        for each in ast.walk(mark)
        if isinstance(each, ast.Attribute)
    }
    return bool(names & WORK)


def waits_for_nothing_else(loop: ast.While) -> bool:
    """Whether a loop does nothing but let time or turns pass until its condition holds."""
    return not (isinstance(loop.test, ast.Constant) and loop.test.value) and len(loop.body) == 1


def delay_of(call: ast.Call) -> float | None:
    """The seconds of a sleep, not a number for those that are no literal; None for what is no sleep."""
    name = ast.unparse(call.func)
    if not call.args:
        return None
    sleeps = name in {"asyncio.sleep", "anyio.sleep", "time.sleep", "sleep"} or name.endswith("Event().wait")
    tells = name.endswith("call_later") and ast.unparse(call.args[1]).endswith((".set", ".set_result"))
    if not (sleeps or tells):
        return None
    delay = call.args[0]
    known = isinstance(delay, ast.Constant) and isinstance(delay.value, int | float)
    return float(delay.value) if known else math.nan  # type: ignore[attr-defined]


def waits(text: str) -> Iterator[tuple[int, str]]:
    """The lines that wait in real time, each with the function that it is in."""

    def visit(node: ast.AST, path: list[ast.AST]) -> Iterator[tuple[int, str]]:
        for each in ast.iter_child_nodes(node):
            here = [*path, each]
            if isinstance(each, ast.Call) and (delay := delay_of(each)) is not None:
                functions = functions_around(here)
                inner = path[path.index(functions[-1]) :] if functions else path
                spins = any(isinstance(loop, ast.While) and waits_for_nothing_else(loop) for loop in inner)
                harmless = delay == 0 or delay >= STANDS_STILL or bool(functions and is_work(functions[-1]))
                if (spins or not harmless) and not any(map(is_virtual, functions)):
                    yield each.lineno, functions[-1].name if functions else ""
            yield from visit(each, here)

    return visit(ast.parse(text), [])


@functools.cache
def all_waits() -> tuple[tuple[str, int, str], ...]:
    """Those of the whole suite: file, line, function."""
    files = {str(file.relative_to(TESTS)): file.read_text() for file in sorted(TESTS.rglob("*.py"))}
    return tuple((name, line, function) for name, text in files.items() for line, function in waits(text))


def test_nothing_waits_in_real_time() -> None:
    found = [
        f"tests/{file}:{line} in {function}"
        for file, line, function in all_waits()
        if function not in ALLOWED.get(file, {})
    ]

    assert [] == found, "wait for a message, an event, a future, a pipe or a change; see CONTRIBUTING.md"


def test_each_exception_is_still_needed() -> None:
    found = {(file, function) for file, _, function in all_waits()}

    assert set() == {(file, function) for file, names in ALLOWED.items() for function in names} - found


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(0.1)",
        "while not done:\n        await asyncio.sleep(0)",
        "while not done:\n        await asyncio.sleep(60)",
        "time.sleep(0.5)",
        "loop.call_later(0.05, told.set)",
        "threading.Event().wait(0.1)",
        "def inner():\n        time.sleep(seconds)",
    ],
)
def test_what_waits_is_found(body: str) -> None:
    assert list(waits(f"async def test_it() -> None:\n    {body}\n"))


@pytest.mark.parametrize(
    "text",
    [
        "async def test_it():\n    await asyncio.sleep(0)",
        "async def for_ever():\n    await asyncio.sleep(3600)",
        "def test_it():\n    async def main():\n        await asyncio.sleep(5)\n    run_virtual(main)",
        "class Slow(kb.Actor):\n    @kb.message\n    async def work(self):\n        await asyncio.sleep(0.2)",
    ],
)
def test_what_does_not_wait_is_left_alone(text: str) -> None:
    assert [] == list(waits(text))
