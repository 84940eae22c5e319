"""Inside an async message `asyncio.current_task()` behaves as a task: cancel, timeouts, groups, futures.

Every waiting construct is also ended in its middle in four ways, by a kill, by an exit signal, by a
timeout inside the handler, and by a caller who gives up; afterwards nothing may be left of it.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb

Body = Callable[["Host"], Coroutine[Any, Any, Any]]
flavour: contextvars.ContextVar[str] = contextvars.ContextVar("flavour", default="plain")


class Host(kb.Actor):
    """Runs whatever coroutine function it is sent, as a handler."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.inside = asyncio.Event()

    @kb.message
    async def do(self, body: Body) -> Any:
        return await body(self)

    @kb.message
    def plain(self, value: Any) -> Any:
        return value

    @kb.message
    def fail(self) -> None:
        raise LookupError("asked to")


@pytest.fixture
def complaints() -> Iterator[list[dict[str, Any]]]:
    """What the event loop's exception handler is told; a test that ends with any of it fails."""
    found: list[dict[str, Any]] = []
    yield found
    assert found == []


@pytest.fixture
async def host(complaints: list[dict[str, Any]]) -> Any:
    """A running host; after the test nothing of its handlers is left."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    ref = await kb.start(Host)
    yield ref
    if ref.alive:
        ref.kill()
    await ref.wait_exit(2)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)

    assert [] == [task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)]


async def run(host: kb.ActorRef[Host], body: Body) -> Any:
    """The result of the body as a handler."""
    return await host.call(Host.do, body)


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# -- the interface of a task -------------------------------------------------------------------


async def test_the_current_task_has_the_face_of_a_task(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> None:
        task = own_task()
        assert task is asyncio.current_task()
        assert task.get_loop() is asyncio.get_running_loop()
        assert asyncio.isfuture(task)
        assert "Host" in task.get_name()
        task.set_name("mine")
        assert task.get_name() == "mine"
        assert task.get_coro().__name__ == "do"  # type: ignore[union-attr]
        assert not task.done()
        assert not task.cancelled()
        assert task.cancelling() == 0
        assert len(task.get_stack()) <= 1
        with pytest.raises(asyncio.InvalidStateError):
            task.result()

    await run(host, body)


async def test_each_message_has_a_task_of_its_own_and_none_is_current_outside(
    host: kb.ActorRef[Host],
) -> None:
    async def body(actor: Host) -> Any:
        await asyncio.sleep(0)
        return own_task()

    one, two = await run(host, body), await run(host, body)

    assert one is not two
    assert one.done()
    assert two.done()


async def test_callbacks_of_the_task_are_called_when_the_handler_is_over(host: kb.ActorRef[Host]) -> None:
    called: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def body(actor: Host) -> str:
        own_task().add_done_callback(called.set_result)
        await asyncio.sleep(0)
        assert not called.done()
        return "value"

    assert await run(host, body) == "value"
    assert (await called).result() == "value"


@pytest.mark.parametrize("wait", ["future", "sleep", "round", "call", "task"])
async def test_cancel_raises_at_the_wait_and_uncancel_takes_it_back(
    host: kb.ActorRef[Host], wait: str
) -> None:
    other = await kb.start(Host)

    async def body(actor: Host) -> list[Any]:
        loop, task = asyncio.get_running_loop(), own_task()
        waits: dict[str, Callable[[], Awaitable[Any]]] = {
            "future": loop.create_future,
            "sleep": lambda: asyncio.sleep(60),
            "round": lambda: asyncio.sleep(0),
            "call": lambda: other.call(Host.do, lambda _: forever()),
            "task": lambda: asyncio.create_task(forever()),
        }
        if wait == "round":
            task.cancel("why")
        else:
            loop.call_soon(task.cancel, "why")
        try:
            await waits[wait]()
        except asyncio.CancelledError as error:
            seen = [error.args, task.cancelling(), task.uncancel(), task.cancelling()]
        await asyncio.sleep(0)
        return seen

    result = await run(host, body)
    assert result[1:] == [1, 0, 0]
    assert result[0] == ("why",) or (wait == "task" and result[0] == ())
    other.kill()
    await other.wait_exit(2)


async def test_cancellations_are_counted(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> list[int]:
        task = own_task()
        assert task.uncancel() == 0
        task.cancel()
        task.cancel()
        counts = [task.cancelling(), task.uncancel(), task.uncancel()]
        await asyncio.sleep(0)  # all have been taken back before the next wait
        return [*counts, task.cancelling()]

    assert await run(host, body) == [2, 1, 0, 0]


async def test_a_cancel_asked_for_while_running_raises_at_the_next_wait(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> str:
        task, inner = own_task(), asyncio.get_running_loop().create_future()
        assert task.cancel()
        try:
            await inner
        except asyncio.CancelledError:
            task.uncancel()
        assert inner.cancelled()
        return "went on"

    assert await run(host, body) == "went on"


async def test_a_cancel_that_meets_a_finished_future_wins_and_its_error_counts_as_seen(
    host: kb.ActorRef[Host],
) -> None:
    async def body(actor: Host) -> str:
        loop, task = asyncio.get_running_loop(), own_task()

        def both(inner: asyncio.Future[None]) -> None:
            inner.set_exception(ValueError("late"))
            task.cancel()

        async def waits() -> None:
            inner: asyncio.Future[None] = loop.create_future()
            loop.call_soon(both, inner)
            await inner

        try:
            await waits()
        except asyncio.CancelledError:
            task.uncancel()
        gc.collect()
        return "cancelled"

    assert await run(host, body) == "cancelled"


async def test_cancel_after_the_end_says_that_it_is_too_late(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> Any:
        return own_task()

    assert (await run(host, body)).cancel() is False


async def test_awaiting_ones_own_task_is_an_error_and_no_deadlock(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> str:
        with pytest.raises(RuntimeError, match="itself"):
            await own_task()
        return "alive"

    assert await run(host, body) == "alive"


async def test_awaiting_a_future_of_another_loop_is_an_error(host: kb.ActorRef[Host]) -> None:
    foreign_loop = asyncio.new_event_loop()
    try:
        foreign = foreign_loop.create_future()

        async def body(actor: Host) -> str:
            with pytest.raises(RuntimeError, match="another event loop"):
                await foreign
            await asyncio.sleep(0)
            return "alive"

        assert await run(host, body) == "alive"
    finally:
        foreign_loop.close()


async def test_yielding_something_that_is_no_awaitable_is_an_error(host: kb.ActorRef[Host]) -> None:
    class Odd:
        def __await__(self) -> Any:
            yield 42

    async def body(actor: Host) -> str:
        with pytest.raises(RuntimeError, match="42"):
            await Odd()
        return "alive"

    assert await run(host, body) == "alive"


async def test_sleep_zero_lets_asyncio_have_a_round(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> list[str]:
        steps: list[str] = []

        async def child() -> None:
            steps.append("child began")

        kept = asyncio.create_task(child())
        asyncio.get_running_loop().call_soon(steps.append, "callback")
        await asyncio.sleep(0)
        steps.append("handler")
        await kept
        return steps

    began = await run(host, body)
    assert sorted(began[:2]) == ["callback", "child began"]
    assert began[2] == "handler"


async def test_handlers_that_spin_on_sleep_zero_take_turns_with_others(host: kb.ActorRef[Host]) -> None:
    other = await kb.start(Host)
    order: list[str] = []

    def spin(name: str) -> Body:
        async def body(actor: Host) -> None:
            for _ in range(5):
                order.append(name)
                await asyncio.sleep(0)

        return body

    await asyncio.gather(run(host, spin("a")), run(other, spin("b")))
    assert order == ["a", "b"] * 5
    await other.stop()


# -- asyncio's own constructs ------------------------------------------------------------------


async def test_a_timeout_that_expires_raises_timeouterror_and_leaves_no_trace(
    host: kb.ActorRef[Host],
) -> None:
    async def body(actor: Host) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001) as scope:
                await forever()
        assert scope.expired()
        return own_task().cancelling()

    assert await run(host, body) == 0


async def test_a_timeout_over_a_call_to_another_actor_gives_the_call_up(host: kb.ActorRef[Host]) -> None:
    other = await kb.start(Host)

    async def body(actor: Host) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await other.call(Host.do, lambda _: forever())
        return await host_free()

    async def host_free() -> str:
        return "free"

    assert await run(host, body) == "free"
    other.kill()
    await other.wait_exit(2)


async def test_a_timeout_in_time_changes_nothing_and_can_be_moved(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> str:
        async with asyncio.timeout(60) as scope:
            scope.reschedule(asyncio.get_running_loop().time() + 90)
            await asyncio.sleep(0)
        assert not scope.expired()
        async with asyncio.timeout(None):
            await asyncio.sleep(0)
        return "in time"

    assert await run(host, body) == "in time"


@pytest.mark.parametrize("which", ["inner", "outer"])
async def test_of_nested_timeouts_the_one_that_expires_raises(host: kb.ActorRef[Host], which: str) -> None:
    async def body(actor: Host) -> list[bool]:
        outer = asyncio.timeout(0.001 if which == "outer" else 60)
        inner = asyncio.timeout(0.001 if which == "inner" else 60)
        with pytest.raises(TimeoutError):
            async with outer, inner:
                await forever()
        return [inner.expired(), outer.expired(), own_task().cancelling() == 0]

    assert await run(host, body) == [which == "inner", which == "outer", True]


async def test_wait_for_returns_expires_and_cancels(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> Any:
        assert await asyncio.wait_for(asyncio.sleep(0, "value"), 60) == "value"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.001)
        other = await kb.start(Host)
        assert await asyncio.wait_for(other.call(Host.plain, 3), 60) == 3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(other.call(Host.do, lambda _: forever()), 0.001)
        other.kill()
        return await other.wait_exit(2)

    assert await run(host, body) == kb.Killed()


async def test_a_task_group_gathers_its_children(host: kb.ActorRef[Host]) -> None:
    other = await kb.start(Host)

    async def body(actor: Host) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(other.call(Host.plain, n)) for n in range(20)]
            tasks.append(group.create_task(asyncio.sleep(0, "slept")))
        return [task.result() for task in tasks]

    assert await run(host, body) == [*range(20), "slept"]
    await other.stop()


async def test_a_failing_child_of_a_task_group_cancels_the_rest_and_the_handler_goes_on(
    host: kb.ActorRef[Host],
) -> None:
    cancelled: list[str] = []

    async def waits() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append("child")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("child")

    async def body(actor: Host) -> int:
        async def group_fails() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(waits())
                group.create_task(fails())
                await forever()

        with pytest.raises(ExceptionGroup):
            await group_fails()
        await asyncio.sleep(0)
        return own_task().cancelling()

    assert await run(host, body) == 0
    assert cancelled == ["child"]


async def test_a_group_of_errors_is_the_reason_of_the_crash(host: kb.ActorRef[Host]) -> None:
    async def fails(error: Exception) -> None:
        raise error

    async def body(actor: Host) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(KeyError("a")))
            group.create_task(fails(ValueError("b")))

    with pytest.raises(kb.ActorExited) as caught:
        await run(host, body)

    assert isinstance(caught.value.reason, kb.Crashed)
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_gather_shield_and_wait_work(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> Any:
        assert list(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))) == [1, 2]
        inner = asyncio.ensure_future(asyncio.sleep(0.01, "kept"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.shield(inner)
        done, pending = await asyncio.wait([inner])
        assert done == {inner}
        assert pending == set()
        return inner.result()

    assert await run(host, body) == "kept"


async def test_primitives_of_asyncio_work_between_handlers_and_tasks(host: kb.ActorRef[Host]) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()

    async def body(actor: Host) -> list[int]:
        got = [await queue.get() for _ in range(5)]
        async with lock:
            event.set()
        async with condition:
            condition.notify_all()
        return got

    async def outside() -> None:
        async with condition:
            for number in range(5):
                await queue.put(number)
            await event.wait()
            await condition.wait()

    results = await asyncio.gather(run(host, body), outside())
    assert results[0] == list(range(5))


async def test_threads_and_executors_work_and_carry_the_context(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> list[Any]:
        flavour.set("lemon")
        loop = asyncio.get_running_loop()
        return [
            await asyncio.to_thread(flavour.get),
            await loop.run_in_executor(None, sum, [1, 2, 3]),
            flavour.get(),
        ]

    assert await run(host, body) == ["lemon", 6, "lemon"]
    assert flavour.get() == "plain"
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_context_is_kept_across_waits_and_apart_from_other_messages(host: kb.ActorRef[Host]) -> None:
    other = await kb.start(Host)

    def tastes(name: str) -> Body:
        async def body(actor: Host) -> list[str]:
            assert flavour.get() == "caller"
            flavour.set(name)
            seen = []
            for _ in range(3):
                await asyncio.sleep(0)
                seen.append(flavour.get())
                seen.append(await asyncio.create_task(read()))
                seen.append(await reader.call(Host.do, lambda _: read()))
            return seen

        return body

    async def read() -> str:
        return flavour.get()

    reader = await kb.start(Host)
    token = flavour.set("caller")
    try:
        one, two = await asyncio.gather(run(host, tastes("one")), run(other, tastes("two")))
    finally:
        flavour.reset(token)

    assert one == ["one"] * 9
    assert two == ["two"] * 9
    await other.stop()
    await reader.stop()


async def test_calls_from_tasks_inside_a_handler_work_both_ways(host: kb.ActorRef[Host]) -> None:
    other = await kb.start(Host)

    async def body(actor: Host) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            nested = group.create_task(other.call(Host.do, lambda _: asyncio.sleep(0.001, "slow")))
            quick = group.create_task(other.call(Host.plain, "quick"))
            direct = await other.call(Host.plain, "direct")
        with pytest.raises(kb.NotInProcess):
            await asyncio.create_task(inside())
        return [nested.result(), quick.result(), direct]

    async def inside() -> Any:
        return kb.me()

    assert await run(host, body) == ["slow", "quick", "direct"]
    await other.stop()


async def test_an_async_generator_is_driven_and_closed_in_a_handler(host: kb.ActorRef[Host]) -> None:
    closed: list[str] = []

    async def numbers() -> Any:
        try:
            for number in range(10):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def body(actor: Host) -> list[int]:
        whole = [number async for number in numbers()]
        part = numbers()
        async for number in part:
            if number == 3:
                break
        await part.aclose()
        return [len(whole), number]

    assert await run(host, body) == [10, 3]
    assert closed == ["closed", "closed"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_tasks_that_start_eagerly_are_not_taken_for_the_handler(host: kb.ActorRef[Host]) -> None:
    loop = asyncio.get_running_loop()
    other = await kb.start(Host)
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to 3.11's stubs
    try:

        async def child(number: int) -> Any:
            first = await other.call(Host.plain, number)
            await asyncio.sleep(0)
            return first + await other.call(Host.do, lambda _: asyncio.sleep(0, 100))

        async def body(actor: Host) -> Any:
            mine = own_task()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(child(number)) for number in range(10)]
                assert asyncio.current_task() is mine
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.create_task(forever())
            return [task.result() for task in tasks]

        assert await run(host, body) == [100 + number for number in range(10)]
    finally:
        loop.set_task_factory(None)
    await other.stop()


# -- ended in the middle -----------------------------------------------------------------------


async def sleeps(actor: Host) -> None:
    await asyncio.sleep(60)


async def spins(actor: Host) -> None:
    while True:  # noqa: ASYNC110 - spinning is what is tested
        await asyncio.sleep(0)


async def waits_for_future(actor: Host) -> None:
    await forever()


async def in_wait_for(actor: Host) -> None:
    await asyncio.wait_for(forever(), 60)


async def in_group(actor: Host) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(noted(actor, forever()))
    raise AssertionError("not reached")


async def in_gather(actor: Host) -> None:
    await asyncio.gather(*(noted(actor, forever()) for _ in range(3)))


async def in_queue(actor: Host) -> None:
    await asyncio.Queue[int]().get()


async def in_condition(actor: Host) -> None:
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


async def in_lock(actor: Host) -> None:
    lock = asyncio.Lock()
    async with lock, lock:
        pass


async def in_generator(actor: Host) -> None:
    async def endless() -> Any:
        while True:
            await asyncio.sleep(60)
            yield 1

    async for _ in endless():
        pass


async def in_call(actor: Host) -> None:
    other = await kb.start_link(Host)
    try:
        await other.call(Host.do, sleeps)
    finally:
        other.kill()


async def in_shield(actor: Host) -> None:
    inner = asyncio.ensure_future(noted(actor, forever()))
    try:
        await asyncio.shield(inner)
    finally:
        inner.cancel()


async def in_slow_cleanup(actor: Host) -> None:
    try:
        await forever()
    finally:
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        actor.notes.append("cleaned slowly")


async def noted(actor: Host, coro: Coroutine[Any, Any, Any]) -> None:
    try:
        await coro
    except asyncio.CancelledError:
        actor.notes.append("child cancelled")
        raise


BODIES = [
    sleeps, spins, waits_for_future, in_wait_for, in_group, in_gather, in_queue, in_condition, in_lock,
    in_generator, in_call, in_shield, in_slow_cleanup,
]  # fmt: skip
EXPECTED_NOTES: dict[Body, list[str]] = {
    in_group: ["child cancelled"] * 3,
    in_gather: ["child cancelled"] * 3,
    in_shield: ["child cancelled"],
    in_slow_cleanup: ["cleaned slowly"],
}


async def entered(ref: kb.ActorRef[Host], body: Body, notes: list[Any]) -> asyncio.Task[Any]:
    """A call that has come to its wait inside the body."""
    inside = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(rounds: int) -> None:
        """Rounds of the loop in which the body comes as far as it can without time."""
        loop.call_soon(told, rounds - 1) if rounds else inside.set()

    async def wrapped(actor: Host) -> None:
        actor.notes = notes
        told(20)
        try:
            await body(actor)
        finally:
            notes.append("finally")

    call = asyncio.create_task(ref.within(None).call(Host.do, wrapped))
    await inside.wait()
    return call


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("reason", [kb.Kill(), kb.Shutdown()], ids=repr)
async def test_a_handler_that_waits_unwinds_when_its_actor_is_ended(
    host: kb.ActorRef[Host], body: Body, reason: kb.ExitReason
) -> None:
    notes: list[Any] = []
    downs: list[kb.Down] = []
    watching = asyncio.Event()

    async def watch() -> None:
        kb.monitor(host)
        watching.set()
        downs.append(await kb.receive(kb.Down))
        await kb.receive(timeout=0)

    watcher = kb.spawn(watch)
    await watching.wait()
    call = await entered(host, body, notes)
    host.exit(reason)
    ended = kb.Killed() if isinstance(reason, kb.Kill) else reason

    assert await host.wait_exit(2) == ended
    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert caught.value.reason == ended
    await watcher.wait_exit(2)
    assert [ended] == [down.reason for down in downs]
    await asyncio.sleep(0)  # a task that the body cancelled on its way out unwinds in the next round
    assert sorted(notes) == sorted([*EXPECTED_NOTES.get(body, []), "finally"])


@pytest.mark.parametrize("body", BODIES)
async def test_a_handler_that_waits_unwinds_at_its_own_timeout_and_the_actor_lives(
    host: kb.ActorRef[Host], body: Body
) -> None:
    notes: list[Any] = []

    async def limited(actor: Host) -> str:
        actor.notes = notes
        try:
            async with asyncio.timeout(0.005):
                await body(actor)
        except TimeoutError:
            assert own_task().cancelling() == 0
            return "expired"
        return "ended by itself"

    if body is in_call:  # its linked helper is killed in there, which would end the host
        host.cast(Host.do, _traps)
    assert await run(host, limited) == "expired"
    assert notes == EXPECTED_NOTES.get(body, [])
    assert await host.call(Host.plain, "still serving") == "still serving"


async def _traps(actor: Host) -> None:
    actor.trap_exits()


@pytest.mark.parametrize("body", [sleeps, in_group, in_slow_cleanup])
def test_a_handler_whose_caller_gives_up_goes_on(body: Body) -> None:
    notes: list[Any] = []

    async def marked(actor: Host) -> None:
        actor.notes = notes
        notes.append("started")
        await body(actor)

    async def main() -> None:
        host = await kb.start(Host)
        # In virtual time the deadline comes when everybody waits, and so never before the handler's start.
        with pytest.raises(kb.CallTimeout) as caught:
            await host.within(0.005).call(Host.do, marked)

        assert caught.value.maybe_executed
        assert ["started"] == notes
        assert host.alive
        host.kill()
        assert kb.Killed() == await host.wait_exit(2)

    run_virtual(main)


async def test_a_process_that_is_spawned_and_killed_at_once_never_begins() -> None:
    steps: list[str] = []

    async def body() -> None:
        steps.append("began")

    ref = kb.spawn(body)
    ref.kill()

    assert await ref.wait_exit(2) == kb.Killed()
    gc.collect()
    assert steps == []


async def test_a_future_that_is_done_at_the_moment_of_the_kill_does_not_disturb_the_cleanup(
    host: kb.ActorRef[Host],
) -> None:
    notes: list[str] = []
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    other = await kb.start(Host)

    async def answers(actor: Host) -> str:
        await asyncio.sleep(0.005)
        return "the answer that the cleanup waited for"

    async def body(actor: Host) -> None:
        actor.inside.set()
        loop.call_soon(at_once)
        try:
            await future
        finally:
            notes.append(await other.call(Host.do, answers))

    def at_once() -> None:
        # The kill is queued before the future's callback, so the callback meets the cleanup.
        host.kill()
        future.set_result(None)

    host.cast(Host.do, body)

    assert await host.wait_exit(2) == kb.Killed()
    assert notes == ["the answer that the cleanup waited for"]
    await other.stop()


async def test_a_future_that_fails_at_the_moment_of_the_kill_counts_as_seen(host: kb.ActorRef[Host]) -> None:
    loop = asyncio.get_running_loop()

    async def fails() -> None:
        await asyncio.sleep(0.001)
        host.kill()
        raise ValueError("nobody is left to see it")

    async def body(actor: Host) -> None:
        await loop.create_task(fails())

    host.cast(Host.do, body)

    assert await host.wait_exit(2) == kb.Killed()


async def test_a_kill_during_the_cleanup_of_a_shutdown_overtakes_it(host: kb.ActorRef[Host]) -> None:
    cleaning = asyncio.Event()

    async def body(actor: Host) -> None:
        try:
            await forever()
        finally:
            cleaning.set()
            await forever()

    call = await entered(host, body, [])
    host.exit(kb.Shutdown())
    await cleaning.wait()
    assert host.alive
    host.kill()

    assert await host.wait_exit(2) == kb.Killed()
    with pytest.raises(kb.ActorExited):
        await call


@pytest.mark.parametrize("ignores_close", [False, True])
async def test_a_handler_that_swallows_cancellation_is_dead_within_the_grace_of_a_kill(
    host: kb.ActorRef[Host], ignores_close: bool
) -> None:
    stubborn: list[Any] = []
    notes: list[str] = []
    remove = _instruments().add(lambda event: stubborn.append(type(event).__name__))

    async def body(actor: Host) -> None:
        try:
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    notes.append("swallowed")
        finally:
            notes.append("closed")
            if ignores_close:
                await asyncio.sleep(60)

    call = await entered(host, body, notes)
    began = asyncio.get_running_loop().time()
    host.kill()

    assert await host.wait_exit(2) == kb.Killed()
    assert asyncio.get_running_loop().time() - began < 0.5
    assert notes == ["swallowed", "closed", "finally"]
    assert "Stubborn" in stubborn
    with pytest.raises(kb.ActorExited):
        await call
    remove()


async def test_a_cancelled_error_of_ones_own_ends_the_actor_as_a_crash(host: kb.ActorRef[Host]) -> None:
    async def body(actor: Host) -> None:
        raise asyncio.CancelledError("from nowhere")

    with pytest.raises(kb.ActorExited) as caught:
        await run(host, body)

    assert caught.value.reason == kb.Crashed(asyncio.CancelledError("from nowhere"))


async def test_a_handler_whose_task_is_cancelled_from_outside_shuts_its_actor_down(
    host: kb.ActorRef[Host],
) -> None:
    crashes: list[Any] = []
    remove = _instruments().add(lambda event: crashes.append(event) if hasattr(event, "error") else None)
    tasks: list[asyncio.Task[Any]] = []

    async def body(actor: Host) -> None:
        tasks.append(own_task())
        await forever()

    call = await entered(host, body, [])
    tasks[0].cancel()

    assert await host.wait_exit(2) == kb.Shutdown("cancelled")
    with pytest.raises(kb.ActorExited):
        await call
    assert crashes == []
    remove()


def _instruments() -> Any:
    from koboshi._kernel._node import this_node

    return this_node().instruments


def test_a_program_that_ends_while_actors_wait_ends_at_once_and_without_a_word(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    steps: list[str] = []

    async def main() -> None:
        other = await kb.start(Host)
        for body in BODIES:
            ref = await kb.start(Host)
            ref.cast(Host.do, body)
        waiting = await kb.start(Host)
        waiting.cast(Host.do, lambda _: other.call(Host.do, sleeps))
        kb.spawn(kb.receive)
        cleaned = await kb.start(Host)
        cleaned.cast(Host.do, cleans)
        for _ in range(5):
            await asyncio.sleep(0)

    async def cleans(actor: Host) -> None:
        try:
            await forever()
        finally:
            steps.append("cleaned")

    asyncio.run(main())
    gc.collect()
    gc.collect()

    assert steps == ["cleaned"]
    assert list(recwarn) == []
    # An actor whose call is never answered, because its callee was shut down, does crash of that.
    crashes = [record.getMessage() for record in caplog.records]
    assert [] == [text for text in crashes if "ActorExited" not in text]
    assert capfd.readouterr() == ("", "")
