"""Tasks and partitions keep the types of what they run."""

from __future__ import annotations

from typing import assert_type

import koboshi as kb
from koboshi import otp


async def length(word: str, *, times: int = 1) -> int:
    return len(word) * times


def upper(word: str) -> str:
    return word.upper()


class Shard(kb.Actor):
    def __init__(self, index: int) -> None:
        self.index = index

    @kb.message
    def put(self, key: str, value: int) -> bool:
        return True


async def main() -> None:
    task = otp.task(length, "a", times=2)
    assert_type(await task, int)
    assert_type(await task.yield_(), otp.Ok[int] | otp.Failed | None)
    assert_type(await otp.task(upper, "a"), str)
    assert_type(await otp.wait_many([otp.task(length, "a")]), list[int])
    async for outcome in otp.task_stream(length, ["a", "b"]):
        match outcome:
            case otp.Ok(value):
                assert_type(value, int)
            case otp.Failed(reason):
                assert_type(reason, kb.ExitReason)
    tasks = otp.tasks("tasks")
    assert_type(await (await tasks.start(length, "a")).wait(), int)

    shards = otp.partitions("shards", Shard)
    assert_type(await shards.ref("key"), kb.ActorRef[Shard])
    assert_type(await shards.call("key", Shard.put, "key", 1), bool)
