"""Each option's mistake is refused where it is written: the error names it, what it takes, and what came."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from tests.durable.tasks import work

import koboshi as kb
from koboshi.durable.tasks import put_rows

STORE = "memory://options"


def queue(**options: Any) -> kb.Queue:
    return kb.Queue(**{"name": "q", "store": STORE} | options)


def put_options(**options: Any) -> Any:
    return queue().options(**options)


def task(**options: Any) -> Any:
    return kb.task(**options)(lambda: None)


MISTAKES: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (queue, {"name": ""}, "the name of a queue takes 1 to 128 characters and no zero, got ''"),
    (queue, {"name": 7}, "the name of a queue takes 1 to 128 characters and no zero, got 7"),
    (queue, {"name": "a\0b"}, r"the name of a queue takes .* no zero, got 'a\\x00b'"),
    (queue, {"name": "\ud800"}, "the name of a queue takes text that can be stored as UTF-8"),
    (queue, {"store": "mongodb://x"}, "mongodb"),
    (queue, {"limit": 0}, "limit takes a whole number >= 1, got 0"),
    (queue, {"limit": True}, "limit takes a whole number >= 1, got True"),
    (queue, {"rate": 100}, r"rate takes a kb.Rate such as kb.Rate\(100, per=60.0\), got 100"),
    (queue, {"keep_results": 0}, "keep_results takes seconds > 0 or None, got 0"),
    (queue, {"keep_dead": -1}, "keep_dead takes seconds > 0 or None, got -1"),
    (queue, {"max_bytes": 0}, "max_bytes takes a whole number >= 1, got 0"),
    (queue, {"lease": None}, "lease takes seconds > 0, got None"),
    (queue, {"lease": float("nan")}, "lease takes seconds > 0, got nan"),
    (kb.Rate, {"count": 0}, "count takes a whole number >= 1, got 0"),
    (kb.Rate, {"count": 1, "per": 0.0}, "per takes seconds > 0, got 0.0"),
    (kb.Rate, {"count": 1, "burst": 0}, "burst takes a whole number >= 1, got 0"),
    (kb.Rate, {"count": 10, "per": 1e-6}, "a rate is at most one task in a microsecond, got Rate"),
    (queue().child, {"workers": 0}, "workers takes a whole number >= 1, got 0"),
    (queue().child, {"concurrency": 0}, "concurrency takes a whole number >= 1, got 0"),
    (queue().child, {"grace": -1.0}, "grace takes seconds > 0, got -1.0"),
    (put_options, {"id": ""}, "id takes 1 to 255 characters and no zero, got ''"),
    (put_options, {"id": "x" * 256}, "id takes 1 to 255 characters and no zero, got 'xxx"),
    (put_options, {"unique": 5}, "unique takes 1 to 255 characters and no zero, got 5"),
    (put_options, {"id": "a", "unique": "b"}, "id and unique exclude each other"),
    (put_options, {"priority": 1.5}, "priority takes a whole number of at most 31 bits, got 1.5"),
    (put_options, {"priority": 1 << 31}, "priority takes a whole number of at most 31 bits, got 2147483648"),
    (put_options, {"run_at": 1.0, "delay": 1.0}, "run_at and delay exclude each other: give one of them"),
    (put_options, {"run_at": datetime(2026, 1, 1)}, "run_at takes a datetime with a time zone, got datetime"),
    (put_options, {"run_at": "noon"}, "run_at takes a datetime or seconds since the epoch, got 'noon'"),
    (put_options, {"delay": -1}, "delay takes seconds >= 0, got -1"),
    (put_options, {"delay": float("inf")}, "delay takes seconds >= 0, got inf"),
    (put_options, {"when_full": "drop"}, "when_full is one of 'raise', 'wait'; got 'drop'"),
    (task, {"retries": -1}, "retries takes a whole number >= 0, got -1"),
    (task, {"timeout": 0}, "timeout takes seconds > 0 or None, got 0"),
    (task, {"max_interruptions": None}, "max_interruptions takes a whole number >= 0, got None"),
    (task, {"backoff": 2.0}, r"backoff takes kb\.Backoff\(min, max, .*got 2\.0"),
    (task, {"name": ""}, "name takes 1 to 255 characters and no zero, got ''"),
    (task, {"name": work.double.name}, r"the name '.*work.double' is that of .*; give one of them another"),
]


@pytest.mark.parametrize(
    ("make", "options", "said"),
    MISTAKES,
    ids=[f"{getattr(make, '__name__', make)} {options}"[:60] for make, options, _ in MISTAKES],
)
def test_a_value_that_an_option_does_not_take_is_refused(
    make: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(kb.UsageError, match=said):
        make(**options)


def test_only_functions_that_return_their_result_are_tasks() -> None:
    def generates() -> Any:
        yield 1

    with pytest.raises(
        kb.UsageError,
        match=r"kb.task takes a function that returns its result, and .*generates is a generator",
    ):
        kb.task(generates)
    with pytest.raises(kb.UsageError, match=r"kb.task takes a function, got <class 'int'>"):
        kb.task(int)


def test_what_a_function_declares_must_be_something_that_can_be_stored() -> None:
    @kb.task(name="test of an open socket")
    def takes_a_socket(connection: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(
        kb.UsageError, match="the annotations of the task test of an open socket cannot be resolved"
    ):
        queue().row(takes_a_socket, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("one",), r"cannot take \('one'\): Expected `int`, got `str` - at `number`"),
        ((), r"cannot take \(\): missing a required argument: 'number'"),
        ((1, 2), r"cannot take \(1, 2\): too many positional arguments"),
        ((object(),), r"cannot take \(<object object at .*\): .*object is unsupported"),
    ],
)
def test_arguments_that_the_function_does_not_take_are_refused_at_put(
    args: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(kb.UsageError, match=said):
        queue().row(work.double, *args)


def test_a_function_that_is_no_task_is_refused_with_what_to_do() -> None:
    with pytest.raises(kb.UsageError, match=r"a queue takes tasks, got <built-in .*; write @kb.task above"):
        queue().row(len, "text")  # type: ignore[arg-type]


def test_what_belongs_inside_of_a_task_is_refused_outside() -> None:
    said = "this can be called inside a task only, while a queue runs it"

    with pytest.raises(kb.UsageError, match=said):
        kb.transact("DELETE FROM account")
    with pytest.raises(kb.UsageError, match=said):
        queue().enqueue(work.double, 1)


async def test_a_queue_that_is_not_up_says_so() -> None:
    with pytest.raises(kb.StoreClosed, match="not open for the queue 'q'"):
        await queue().put(work.double, 1)
    with pytest.raises(kb.StoreClosed, match="not open for the queue 'q'"):
        await queue().job(work.double, "one").result()


async def test_a_producer_has_no_workers_to_scale() -> None:
    one = queue()
    async with kb.Supervisor(one.producer()):
        with pytest.raises(kb.UsageError, match="runs no tasks here: its child is a producer"):
            await one.scale(2)
        with pytest.raises(kb.UsageError, match="workers takes a whole number >= 1, got 0"):
            await one.scale(0)
        with pytest.raises(kb.UsageError, match=r"state is one of 'ready', 'later', .*; got 'lost'"):
            _ = [each async for each in one.tasks("lost")]  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["run_at", "delay", "unique"])
async def test_what_follows_a_batch_takes_no_time_of_its_own(option: str) -> None:
    one = queue()
    async with kb.Supervisor(one.producer()):
        value = "x" if option == "unique" else 5.0
        following = one.options(**{option: value}).row(work.add, 1)  # type: ignore[arg-type]
        with pytest.raises(kb.UsageError, match=f"takes no {option}; got {value!r}"):
            await one.put_batch([], then=following)


async def test_a_batch_is_of_rows_of_its_own_queue() -> None:
    one, other = queue(), queue(name="other")
    async with kb.Supervisor(one.producer()):
        with pytest.raises(kb.UsageError, match="a batch is of one queue, 'q', and a task is for 'other'"):
            await one.put_batch([other.row(work.add, 1)])
        with pytest.raises(kb.UsageError, match=r"a batch takes rows that queue.row.* makes, got 5"):
            await one.put_batch([5])  # type: ignore[list-item]
        with pytest.raises(kb.UsageError, match=r"the id of a batch with .then takes 1 to 255 characters"):
            await one.put_batch([], id="x" * 252)


async def test_arguments_over_the_limit_are_refused_and_nothing_is_put() -> None:
    one = queue(max_bytes=50)
    async with kb.Supervisor(one.producer()):
        with pytest.raises(
            kb.PayloadTooLarge, match=r"the argument list of the task .*say takes 103 bytes and"
        ):
            await one.put(work.say, "x" * 100)
        with pytest.raises(kb.PayloadTooLarge):
            await one.put_many(work.say, ["fits", "x" * 100])

        assert 0 == (await one.statistics()).waiting


async def test_rows_are_put_in_a_transaction_of_ones_own_or_not_at_all() -> None:
    one = queue()
    async with kb.Supervisor(one.producer()):
        store = one._live().store

        def put(session: Any, fails: bool) -> None:
            put_rows(session, [one.row(work.add, 1)])
            if fails:
                raise RuntimeError("after it was put")

        with pytest.raises(RuntimeError):
            await store.change(lambda session: put(session, True))
        before = (await one.statistics()).waiting
        await store.change(lambda session: put(session, False))

        assert (0, 1) == (before, (await one.statistics()).waiting)
