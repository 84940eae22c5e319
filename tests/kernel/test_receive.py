"""`receive`: selection by type and predicate, the order of what is left, and timeouts."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.virtual import run_virtual

import koboshi as kb


async def run(body: Any, *told: Any) -> list[Any]:
    """Run a process that is told something before it begins; what it returns, or its error."""
    results: list[Any] = []

    async def process() -> None:
        results.extend(await body())

    ref = kb.spawn(process)
    for message in told:
        ref.tell(message)
    reason = await ref.wait_exit(5)
    if isinstance(reason, kb.Crashed):
        raise reason.error
    assert reason == kb.Normal()
    return results


async def drain() -> list[Any]:
    """All that is left, in order."""
    left = []
    while (message := await kb.receive(timeout=0)) != kb.Timeout():
        left.append(message)
    return left


async def test_without_selectors_the_oldest_message_comes() -> None:
    async def body() -> list[Any]:
        return [await kb.receive(), await kb.receive()]

    assert await run(body, 1, "two") == [1, "two"]


async def test_a_type_selects_and_the_others_keep_their_order() -> None:
    async def body() -> list[Any]:
        return [await kb.receive(str), await kb.receive(str), *await drain()]

    assert await run(body, 1, "a", 2.0, "b", 3) == ["a", "b", 1, 2.0, 3]


async def test_a_predicate_selects() -> None:
    async def body() -> list[Any]:
        return [await kb.receive(lambda message: message > 2), *await drain()]

    assert await run(body, 1, 2, 3, 4) == [3, 1, 2, 4]


async def test_types_and_predicates_mix_and_the_oldest_that_any_accepts_comes() -> None:
    async def body() -> list[Any]:
        return [await kb.receive(str, lambda message: message == 3, float), *await drain()]

    assert await run(body, 1, 3, "a", 2.0) == [3, 1, "a", 2.0]
    assert await run(body, 1, 2.0, 3, "a") == [2.0, 1, 3, "a"]


async def test_a_selective_wait_passes_over_what_arrives_and_leaves_it_in_order() -> None:
    waiting = asyncio.Event()

    async def process() -> None:
        waiting.set()
        got.append(await kb.receive(str))
        got.extend(await drain())

    got: list[Any] = []
    ref = kb.spawn(process)
    await waiting.wait()
    for message in (1, 2, "it", 3, "more"):
        ref.tell(message)
    await ref.wait_exit(5)

    assert got == ["it", 1, 2, 3, "more"]


async def test_timeout_zero_only_looks() -> None:
    async def body() -> list[Any]:
        return [
            await kb.receive(timeout=0),
            await kb.receive(str, timeout=0),
            await kb.receive(int, timeout=0),
            await kb.receive(timeout=-1),
        ]

    assert await run(body, 1) == [1, kb.Timeout(), kb.Timeout(), kb.Timeout()]
    assert await run(body) == [kb.Timeout()] * 4


def test_a_timeout_comes_after_its_time_and_not_before() -> None:
    async def main() -> list[float]:
        loop, times = asyncio.get_running_loop(), []

        async def process() -> None:
            for seconds in (0.5, 3.0, 600.0):
                began = loop.time()
                assert await kb.receive(timeout=seconds) == kb.Timeout()
                times.append(loop.time() - began)

        assert await kb.spawn(process).wait_exit() == kb.Normal()
        return times

    assert run_virtual(main) == pytest.approx([0.5, 3.0, 600.0])


def test_messages_that_are_not_wanted_do_not_put_a_timeout_off() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        result: list[Any] = []

        async def process() -> None:
            began = loop.time()
            result.extend([await kb.receive(str, timeout=1.0), loop.time() - began, await drain()])

        ref = kb.spawn(process)
        for number in range(9):
            loop.call_later(0.1 * (number + 1), ref.tell, number)
        await ref.wait_exit()
        return result

    assert run_virtual(main) == [kb.Timeout(), pytest.approx(1.0), list(range(9))]


def test_a_message_in_time_cancels_the_timeout_for_good() -> None:
    async def main() -> list[Any]:
        loop, got = asyncio.get_running_loop(), []

        async def process() -> None:
            got.append(await kb.receive(timeout=1.0))
            began = loop.time()
            got.extend([await kb.receive(timeout=5.0), loop.time() - began])

        ref = kb.spawn(process)
        loop.call_later(0.9, ref.tell, "in time")
        await ref.wait_exit()
        return got

    assert run_virtual(main) == ["in time", kb.Timeout(), pytest.approx(5.0)]


async def test_a_predicate_that_raises_while_waiting_fails_the_receiver_and_not_the_sender() -> None:
    waiting = asyncio.Event()

    async def process() -> None:
        waiting.set()
        await kb.receive(lambda message: message["key"])

    ref = kb.spawn(process)
    await waiting.wait()
    ref.tell("a string")  # must not raise here
    reason = await ref.wait_exit(5)

    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, TypeError)


async def test_a_receive_that_failed_can_be_tried_again_and_the_message_is_still_there() -> None:
    async def body() -> list[Any]:
        with pytest.raises(TypeError):
            await kb.receive(lambda message: message["key"])
        return [await kb.receive(timeout=0)]

    assert await run(body, "kept") == ["kept"]


async def test_a_cancelled_receive_takes_nothing() -> None:
    async def body() -> list[Any]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await kb.receive(str)
        kb.me().tell("later")
        return await drain()

    assert await run(body, 1) == [1, "later"]


async def test_an_actor_cannot_receive() -> None:
    class Plain(kb.Actor):
        @kb.message
        async def wrong(self) -> Any:
            return await kb.receive()

    ref = await kb.start(Plain)
    with pytest.raises(kb.ActorExited) as caught:
        await ref.call(Plain.wrong)

    assert isinstance(caught.value.__cause__, kb.NotInProcess)
    assert "@message" in str(caught.value.__cause__)


async def test_a_task_that_a_process_has_started_cannot_receive_its_mail() -> None:
    async def body() -> list[Any]:
        with pytest.raises(kb.NotInProcess):
            await asyncio.create_task(kb.receive())
        return [await kb.receive()]

    assert await run(body, "mine") == ["mine"]


async def test_two_processes_talk_without_losing_or_mixing_anything() -> None:
    async def pong() -> None:
        while True:
            sender, number = await kb.receive(tuple)
            sender.tell(number + 1)

    async def body() -> list[Any]:
        other, number = kb.spawn_link(pong), 0
        for _ in range(2000):
            other.tell((kb.me(), number))
            number = await kb.receive(int)
        kb.unlink(other)
        other.kill()
        return [number]

    assert await run(body) == [2000]


MESSAGES = st.one_of(st.integers(0, 5), st.text(max_size=1), st.floats(0, 1))
SELECTORS = st.lists(st.sampled_from([int, str, float, "even", "long"]), max_size=3)
PREDICATES = {
    "even": lambda message: isinstance(message, int) and message % 2 == 0,
    "long": lambda message: isinstance(message, str) and len(message) > 0,
}


@settings(max_examples=150)
@given(steps=st.lists(st.one_of(st.tuples(st.just("tell"), MESSAGES), st.tuples(st.just("take"), SELECTORS))))
def test_any_mix_of_mail_and_selection_does_what_a_list_would(steps: list[tuple[str, Any]]) -> None:
    async def process() -> None:
        model: deque[Any] = deque()
        me = kb.me()
        for action, value in steps:
            if action == "tell":
                me.tell(value)
                model.append(value)
                continue
            selectors = [PREDICATES.get(each, each) for each in value]
            expected: Any = kb.Timeout()
            for index, message in enumerate(model):
                if not selectors or any(
                    isinstance(message, each) if isinstance(each, type) else each(message)
                    for each in selectors
                ):
                    expected = message
                    del model[index]
                    break
            got = await kb.receive(*selectors, timeout=0)
            assert (type(expected), expected) == (type(got), got)
        assert list(model) == await drain()

    async def main() -> kb.ExitReason | None:
        return await kb.spawn(process).wait_exit(5)

    assert asyncio.run(main()) == kb.Normal()
