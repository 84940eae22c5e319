"""Large buffers between nodes: by shared memory, whoever they go to, and gone with who held them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workers.nodes.agents import Agent
from tests.workers.nodes.conftest import World

import koboshi as kb
from koboshi.wire._segments import SEGMENT_NAME

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


def segments(pid: int | None = None) -> int:
    """Segments that a process holds, open or mapped."""
    folder = Path(f"/proc/{pid or os.getpid()}")
    held = 0
    for entry in (folder / "fd").iterdir():
        try:
            held += SEGMENT_NAME in os.readlink(entry)
        except FileNotFoundError:
            continue
    return held + (folder / "maps").read_text().count(SEGMENT_NAME)


def big(seed: int = 1, megabytes: int = 4) -> Any:
    return np.arange(seed, seed + megabytes * 2**17, dtype=np.int64)


async def test_an_array_arrives_whole_and_writable_and_its_owner_sees_no_change(world: World) -> None:
    array = big()
    back = await world.one.call(Agent.echo, {"array": array, "n": 1})

    assert (array == back["array"]).all()
    back["array"][0] = -1
    assert 1 == array[0]


async def test_large_bytes_and_views_arrive_too(world: World) -> None:
    data = os.urandom(3_000_000)
    got = await world.one.call(Agent.echo, [data, bytearray(data), memoryview(data)])

    assert data == got[0]
    assert bytearray(data) == got[1]
    assert data == bytes(got[2])


async def test_it_goes_from_worker_to_worker_and_by_casts_tells_and_replies(world: World) -> None:
    array = big(3)
    assert (array == await world.one.call(Agent.call, world.two, array)).all()
    world.two.cast(Agent.note, array)
    world.two.tell(array)
    await world.two.send(Agent.note, array)

    for heard in await world.two.call(Agent.once_heard, 3):
        assert (array == heard).all()


async def test_more_than_the_frame_limit_goes_by_shared_memory(world: World) -> None:
    array = np.ones(12 * 2**20, dtype=np.int64)  # 96 MB, the limit of a frame is 64

    assert int(array.sum()) == int((await world.one.within(60).call(Agent.echo, array)).sum())


async def test_small_messages_are_not_held_up_and_order_is_kept(world: World) -> None:
    sent: list[Any] = []
    for number in range(60):
        what = big(number, 1) if number % 7 == 3 else number
        sent.append(what)
        world.one.cast(Agent.note, what)
    heard = await world.one.within(30).call(Agent.once_heard, 60)

    for expected, got in zip(sent, heard, strict=True):
        assert np.array_equal(expected, got)


async def test_nothing_is_left_when_nobody_holds_it(world: World) -> None:
    gc.collect()
    before = segments()
    pid = await world.one.call(Agent.pid)
    there = segments(pid)
    for number in range(100):
        await world.one.call(Agent.echo, big(number, 1))
    await world.one.call(Agent.echo, 0)  # a loop lets go of one thing when it takes up the next
    gc.collect()

    assert segments() <= before
    assert segments(pid) <= there


async def test_what_a_dead_node_held_is_gone(world: World) -> None:
    gc.collect()
    before = segments()
    for number in range(50):
        await world.one.call(Agent.note, big(number, 1))
    pid = await world.one.call(Agent.pid)
    assert segments(pid) >= 50
    os.kill(pid, signal.SIGKILL)
    await world.one.wait_exit(5)
    gc.collect()

    assert segments() <= before


async def test_a_node_killed_in_the_middle_of_large_messages_costs_its_calls_only(world: World) -> None:
    pid = await world.one.call(Agent.pid)
    calls = [
        asyncio.ensure_future(world.one.within(30).call(Agent.call, world.two, big(number, 8)))
        for number in range(12)
    ]
    await world.two.call(Agent.echo, 0)
    os.kill(pid, signal.SIGKILL)
    results = await asyncio.gather(*calls, return_exceptions=True)
    gc.collect()

    assert all(isinstance(result, kb.ActorExited | np.ndarray) for result in results)
    assert 5 == await world.two.call(Agent.echo, 5)
    assert 0 == segments()
