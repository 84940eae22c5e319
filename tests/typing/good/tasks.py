"""Tasks and streams know what their functions return."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import koboshi as kb
from koboshi import otp


async def fetch(url: str, *, attempts: int = 1) -> bytes:
    return url.encode() * attempts


def length(url: str) -> int:
    return len(url)


async def numbers() -> AsyncIterator[int]:
    yield 1


async def one() -> None:
    fetched = otp.task(fetch, "url", attempts=2)
    assert_type(fetched, otp.Task[bytes])
    assert_type(await fetched, bytes)
    assert_type(await fetched.wait(1.0), bytes)
    assert_type(otp.task_nolink(length, "url"), otp.Task[int])
    assert_type(await otp.task(length, "url"), int)
    assert_type(fetched.ref, kb.ActorRef[kb.Process])
    match await fetched.poll(0.1):
        case otp.Ok(value):
            assert_type(value, bytes)
        case otp.Failed(reason):
            assert_type(reason, kb.ExitReason)
        case None:
            await fetched.shutdown("kill")


async def several() -> None:
    lengths = [otp.task(length, url) for url in ("a", "b")]
    assert_type(await otp.wait_many(lengths), list[int])
    for outcome in await otp.poll_many(lengths, 1.0, limit=1):
        if outcome is not None:
            assert_type(outcome.unwrap(), int)


async def streams(tasks: otp.Tasks) -> None:
    async for outcome in otp.task_stream(["a"], fetch, max_concurrency=2, on_timeout="kill"):
        assert_type(outcome.unwrap(), bytes)
    async with otp.task_stream(numbers(), str) as texts:
        async for outcome_of_text in texts:
            assert_type(outcome_of_text.unwrap(), str)
        assert_type(texts.statistics(), otp.StreamStatistics)
    async for outcome_of_length in tasks.stream(["a"], length, link=False):
        assert_type(outcome_of_length.unwrap(), int)


async def supervised(ref: kb.ActorRef[otp.TaskSupervisor]) -> None:
    tasks = otp.tasks(ref).options(on="n1", shutdown=1.0)
    assert_type(await (await tasks.task(fetch, "url")), bytes)
    assert_type(await tasks.task_nolink(length, "url"), otp.Task[int])
    assert_type(await tasks.start_child(fetch, "url"), kb.ActorRef[kb.Process])
    assert_type(await ref.call(otp.TaskSupervisor.statistics), otp.TaskSupervisorStatistics)
