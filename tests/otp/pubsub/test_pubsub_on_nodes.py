"""Topics across nodes: one frame to each, and what a lost node had is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from tests.otp.conftest import Directories
from tests.otp.members import Member

import koboshi as kb
from koboshi.otp.pubsub._hub import Hub

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_a_message_reaches_subscribers_on_all_nodes_from_any(directories: Directories) -> None:
    members = (directories.home, directories.one, directories.two)
    for each in members:
        await each.call(Member.do, directories.topics, "subscribe", "t")
    for each in members:
        await each.call(Member.do, directories.topics, "broadcast", "t", "all")
        await each.call(Member.do, directories.topics, "broadcast_from", "t", "others")

    for each in members:
        heard = await each.call(Member.once_heard, 5)
        assert ["all", "all", "all", "others", "others"] == sorted(heard)
    assert 3 == (await directories.topics.statistics()).nodes


async def test_a_node_gets_one_frame_for_all_its_subscribers(directories: Directories) -> None:
    members = [directories.one, *[await directories.member(f"m{n}", on="n1") for n in range(4)]]
    for each in members:
        await each.call(Member.do, directories.topics, "subscribe", "t")
    registry = kb.whereis("topics")
    assert registry is not None
    hubs = list(registry._target().actor._hubs)
    sent: list[object] = []
    route = hubs[0].route
    mesh: Any = type(route)
    deliver = mesh.deliver

    def counting(self: object, cell: object, item: tuple[object, ...]) -> None:
        if cell in hubs:
            sent.append(item)
        deliver(self, cell, item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "deliver", counting)
        await directories.topics.broadcast("t", "once")
    for each in members:
        assert ["once"] == await each.call(Member.once_heard, 1)

    assert 1 == len(hubs)
    assert 1 == len(sent)
    assert hubs[0].info.cls is Hub


async def test_a_local_broadcast_stays_on_its_node(directories: Directories) -> None:
    for each in (directories.home, directories.one, directories.two):
        await each.call(Member.do, directories.topics, "subscribe", "t")
    await directories.one.call(Member.do, directories.topics, "local_broadcast", "t", "here")
    await directories.one.call(Member.do, directories.topics, "broadcast", "t", "all")

    assert ["here", "all"] == await directories.one.call(Member.once_heard, 2)
    assert ["all"] == await directories.home.call(Member.once_heard, 1)
    assert ["all"] == await directories.two.call(Member.once_heard, 1)


async def test_a_lost_node_is_forgotten_and_its_successor_may_subscribe(directories: Directories) -> None:
    topics = directories.topics
    for each in (directories.home, directories.one):
        await each.call(Member.do, topics, "subscribe", "t")
    await directories.lose("n1")
    await topics.broadcast("t", 1)
    assert 1 == (await topics.statistics()).nodes
    again = await directories.member("again", on="n1")
    await again.call(Member.do, topics, "subscribe", "t")
    await topics.broadcast("t", 2)

    assert [2] == await again.call(Member.once_heard, 1)
    assert [1, 2] == await directories.home.call(Member.once_heard, 2)


async def test_when_its_last_subscriber_leaves_a_node_is_sent_nothing(directories: Directories) -> None:
    topics = directories.topics
    for _ in range(2):
        await directories.one.call(Member.do, topics, "subscribe", "t")
        assert 1 == (await topics.statistics()).topics
        await directories.one.call(Member.do, topics, "unsubscribe", "t")
        # The node's own request comes behind what it has told the server before.
        await directories.one.call(Member.do, topics, "broadcast", "t", "nobody")

        assert 0 == (await topics.statistics()).topics
    assert 0 == (await topics.statistics()).delivered


async def test_the_end_of_the_pubsub_reaches_subscribers_on_other_nodes(directories: Directories) -> None:
    await directories.one.call(Member.do, directories.topics, "subscribe", "t")
    server = kb.whereis("topics")
    assert server is not None
    server.kill()

    assert await directories.one.wait_exit(5) is not None
    assert directories.two.alive


async def test_a_node_that_is_stopped_does_not_wait_for_its_hub(directories: Directories) -> None:
    await directories.one.call(Member.do, directories.topics, "subscribe", "t")
    server = kb.whereis("topics")
    assert server is not None
    (hub,) = server._target().actor._hubs
    await directories.tree.terminate_child("n1")

    # Not `NoConnection`, which it would be if its node had been killed when its time was over.
    assert kb.Shutdown() == await kb.ActorRef(hub).wait_exit(5)
