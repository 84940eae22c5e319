"""Refs on other threads: `threadsafe` works there, everything else says which thread it was made for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import pytest

import koboshi as kb
from koboshi._kernel._events import Dropped, Event
from koboshi._kernel._node import this_node

T = TypeVar("T")

user: ContextVar[str] = ContextVar("user", default="nobody")


class Counter(kb.Actor):
    """Counts, and knows on which thread."""

    def __init__(self) -> None:
        self.value = 0
        self.seen: list[str] = []

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    def thread(self) -> int:
        return threading.get_ident()

    @kb.message
    def who(self) -> str:
        return user.get()

    @kb.message
    async def add_later(self, n: int) -> int:
        await asyncio.sleep(0)
        return self.add(n)

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")

    @kb.message
    async def never(self) -> None:
        await asyncio.get_running_loop().create_future()

    @kb.message
    async def in_thread(self, fn: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(fn)


async def elsewhere(fn: Callable[[], T]) -> T:
    """Run `fn` on a thread of its own, which has ended when this returns."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, fn)


async def test_another_thread_calls_and_casts() -> None:
    counter = await kb.start(Counter)

    def work() -> tuple[int, int, int]:
        safe = counter.threadsafe
        safe.cast(Counter.add, 1)
        return safe.call(Counter.add, 2), safe.call(Counter.add_later, 3), safe.call(Counter.thread)

    assert (3, 6, threading.get_ident()) == await elsewhere(work)


async def test_messages_of_one_thread_arrive_in_order_and_once() -> None:
    class Log(kb.Actor):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        @kb.message
        def put(self, thread: int, number: int) -> None:
            self.seen.append((thread, number))

    log = await kb.start(Log)
    actor: Log = log._cell.actor

    def work(thread: int) -> None:
        for number in range(200):
            if number % 7:
                log.threadsafe.cast(Log.put, thread, number)
            else:
                log.threadsafe.call(Log.put, thread, number)
        log.threadsafe.call(Log.put, thread, 200)

    await asyncio.gather(*(elsewhere(lambda thread=thread: work(thread)) for thread in range(4)))  # type: ignore[misc]

    assert 4 * 201 == len(actor.seen)
    for thread in range(4):
        assert list(range(201)) == [number for who, number in actor.seen if who == thread]


async def test_submit_gives_a_future_for_the_thread() -> None:
    counter = await kb.start(Counter)

    def work() -> list[int]:
        futures = [counter.threadsafe.submit(Counter.add, 1) for _ in range(5)]
        return [future.result() for future in futures]

    assert [1, 2, 3, 4, 5] == await elsewhere(work)


async def test_a_call_from_another_thread_fails_as_any_other() -> None:
    counter = await kb.start(Counter)

    def crash() -> kb.ActorExited:
        with pytest.raises(kb.ActorExited) as caught:
            counter.threadsafe.call(Counter.crash)
        return caught.value

    assert kb.Crashed(ValueError("torn")) == (await elsewhere(crash)).reason

    def dead() -> None:
        with pytest.raises(kb.NotRunning):
            counter.threadsafe.call(Counter.add, 1)
        counter.threadsafe.cast(Counter.add, 1)

    await elsewhere(dead)


async def test_a_call_from_another_thread_has_the_deadline_of_its_ref() -> None:
    counter = await kb.start(Counter)

    def late() -> None:
        with pytest.raises(kb.CallTimeout):
            counter.within(0.01).threadsafe.call(Counter.never)

    await elsewhere(late)


async def test_wrong_arguments_are_refused_on_the_thread_that_gives_them() -> None:
    counter = await kb.start(Counter)

    def wrong() -> None:
        with pytest.raises(kb.UsageError, match=r"Counter\.add"):
            counter.threadsafe.cast(Counter.add)  # type: ignore[call-arg]
        with pytest.raises(kb.UsageError, match=r"Counter\.add"):
            counter.threadsafe.call(Counter.add)  # type: ignore[call-arg]

    await elsewhere(wrong)
    assert 1 == await counter.call(Counter.add, 1)


async def test_the_context_of_the_thread_travels_with_its_messages() -> None:
    counter = await kb.start(Counter)

    def work() -> str:
        user.set("thread")
        return counter.threadsafe.call(Counter.who)

    assert "thread" == await elsewhere(work)
    assert "nobody" == user.get()


async def test_a_cast_that_a_full_mailbox_refuses_is_reported() -> None:
    seen: list[Event] = []
    this_node().instruments.add(seen.append)
    async with kb.Supervisor(kb.child(Counter).options(mailbox=1, shutdown="kill")) as tree:
        counter = tree.ref(Counter, "Counter")
        counter.suspend()

        def flood() -> None:
            for _ in range(3):
                counter.threadsafe.cast(Counter.add, 1)

        await elsewhere(flood)
        assert 1 == kb.info(counter).mailbox
        assert 2 == sum(isinstance(event, Dropped) for event in seen)


@pytest.mark.parametrize("use", ["call", "cast", "send", "tell", "exit", "kill"])
async def test_a_ref_used_on_another_thread_says_what_to_use_there(use: str) -> None:
    counter = await kb.start(Counter)

    uses: dict[str, Callable[[], object]] = {
        "call": lambda: counter.call(Counter.add, 1).send(None),
        "send": lambda: counter.send(Counter.add, 1).send(None),
        "cast": lambda: counter.cast(Counter.add, 1),
        "tell": lambda: counter.tell("x"),
        "exit": lambda: counter.exit("x"),
        "kill": counter.kill,
    }

    def wrong() -> None:
        with pytest.raises(kb.WrongThread, match=r"ref\.threadsafe"):
            uses[use]()

    await elsewhere(wrong)
    assert 1 == await counter.call(Counter.add, 1)


@pytest.mark.parametrize("has_mail", [False, True])
@pytest.mark.parametrize("use", ["cast", "call"])
async def test_a_ref_used_on_another_thread_is_refused_also_while_its_loop_runs_a_process(
    use: str, has_mail: bool
) -> None:
    counter = await kb.start(Counter)
    refused: list[BaseException] = []

    class Blocking(kb.Actor):
        @kb.message
        def block(self) -> None:
            def wrong() -> None:
                try:
                    if use == "cast":
                        counter.cast(Counter.add, 1)
                    else:
                        counter.call(Counter.add, 1).send(None)
                except (kb.WrongThread, StopIteration) as error:
                    refused.append(error)

            thread = threading.Thread(target=wrong)
            thread.start()
            thread.join()

    blocking = await kb.start(Blocking)
    if has_mail:
        counter.suspend()
        counter.cast(Counter.add, 0)
    await blocking.call(Blocking.block)
    counter.resume()

    assert [kb.WrongThread] == [type(error) for error in refused]
    assert 1 == await counter.call(Counter.add, 1)


async def test_a_thread_started_by_a_handler_may_call_back_through_threadsafe() -> None:
    counter, other = await kb.start(Counter), await kb.start(Counter)

    assert 5 == await counter.call(Counter.in_thread, lambda: other.threadsafe.call(Counter.add, 5))


async def test_threadsafe_on_the_loops_own_thread_says_that_it_would_wait_for_itself() -> None:
    counter = await kb.start(Counter)

    with pytest.raises(kb.WrongThread, match="would wait for itself"):
        counter.threadsafe.call(Counter.add, 1)


def test_a_ref_whose_loop_is_closed_is_not_running() -> None:
    async def make() -> kb.ActorRef[Counter]:
        return await kb.start(Counter)

    ref = asyncio.run(make())

    with pytest.raises(kb.NotRunning):
        ref.threadsafe.cast(Counter.add, 1)
    with pytest.raises(kb.NotRunning):
        ref.threadsafe.call(Counter.add, 1)
