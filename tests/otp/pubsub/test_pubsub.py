"""Topics: one copy for each subscriber, none for the dead, and no harm from the slow."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.otp.pubsub.members import Member

import koboshi as kb
from koboshi import otp

TOPICS = kb.child(otp.PubSub).options(name="topics")


async def members(tree: kb.Supervisor, *names: str, **options: Any) -> list[kb.ActorRef[Member]]:
    specs = [kb.child(Member).options(id=name, restart="temporary", **options) for name in names]
    return [await tree.start_child(spec) for spec in specs]


async def test_a_broadcast_reaches_every_subscriber_of_the_topic_once_however_often_it_subscribed() -> None:
    async with kb.Supervisor(TOPICS) as tree:
        one, two, three = await members(tree, "one", "two", "three")
        await one.call(Member.subscribe, "a", "b", "a")
        await one.call(Member.subscribe, "a")
        await two.call(Member.subscribe, "a")
        topics = otp.pubsub("topics")

        assert 2 == await topics.broadcast("a", "first")
        assert 1 == await topics.broadcast("b", "second")
        assert 0 == await topics.broadcast("nobody's", "third")
        assert ["first", "second"] == await one.call(Member.seen)
        assert ["first"] == await two.call(Member.seen)
        assert [] == await three.call(Member.seen)


async def test_who_broadcasts_from_itself_is_left_out() -> None:
    async with kb.Supervisor(TOPICS) as tree:
        one, two = await members(tree, "one", "two")
        for each in (one, two):
            await each.call(Member.subscribe, "a")

        assert 1 == await one.call(Member.broadcast_from, "a", 1)
        assert 2 == await one.call(Member.broadcast, "a", 2)
        assert ([2], [1, 2]) == (await one.call(Member.seen), await two.call(Member.seen))


async def test_messages_of_one_sender_arrive_in_order_with_those_it_sends_directly() -> None:
    async with kb.Supervisor(TOPICS) as tree:
        [one] = await members(tree, "one")
        await one.call(Member.subscribe, "a")
        topics = otp.pubsub("topics")
        for n in range(100):
            one.tell(2 * n)
            await topics.broadcast("a", 2 * n + 1)

        assert list(range(200)) == await one.call(Member.seen)


async def test_one_that_has_unsubscribed_hears_nothing_more_of_that_topic() -> None:
    async with kb.Supervisor(TOPICS) as tree:
        [one] = await members(tree, "one")
        await one.call(Member.subscribe, "a", "b")
        await one.call(Member.unsubscribe, "a", "never")
        topics = otp.pubsub("topics")
        await topics.broadcast("a", 1)
        await topics.broadcast("b", 2)

        assert [2] == await one.call(Member.seen)
        assert ["b"] == await topics.topics()


async def test_the_dead_are_dropped() -> None:
    async with kb.Supervisor(TOPICS) as tree:
        one, two = await members(tree, "one", "two")
        for each in (one, two):
            await each.call(Member.subscribe, "a", "b")
        topics = otp.pubsub("topics")
        one.kill()
        await one.wait_exit()

        assert [two] == await topics.subscribers("a")
        assert 2 == (await topics.statistics()).topics
        assert 1 == (await topics.statistics()).subscribers
        two.kill()
        await two.wait_exit()
        assert (0, 0) == ((await topics.statistics()).topics, (await topics.statistics()).subscribers)


async def test_a_subscriber_that_is_too_slow_misses_messages_which_is_counted_and_reported() -> None:
    events: list[kb.events.Event] = []
    async with kb.Supervisor(TOPICS) as tree:
        [slow] = await members(tree, "slow", mailbox=2)
        [quick] = await members(tree, "quick")
        for each in (slow, quick):
            await each.call(Member.subscribe, "a")
        slow.suspend()
        stop = kb.listen(events.append)
        topics = otp.pubsub("topics")
        reached = [await topics.broadcast("a", n) for n in range(4)]
        stop()
        slow.resume()

        assert [2, 2, 1, 1] == reached
        assert list(range(4)) == await quick.call(Member.seen)
        assert [0, 1] == await slow.call(Member.seen)
        assert (6, 2) == ((await topics.statistics()).delivered, (await topics.statistics()).dropped)
        assert 2 == sum(isinstance(event, kb.events.Dropped) for event in events)


async def test_what_cannot_be_is_refused_by_name() -> None:
    async with kb.Supervisor(TOPICS):
        topics = otp.pubsub("topics")
        with pytest.raises(kb.UsageError, match="a topic is something that can be hashed"):
            await topics.broadcast([], 1)
        with pytest.raises(kb.NotInProcess, match="subscribe is about the process"):
            await topics.subscribe("a")
        with pytest.raises(kb.NotRunning):
            await otp.pubsub("nobody").broadcast("a", 1)


@pytest.mark.slow
async def test_topics_reach_every_node_and_forget_a_lost_one() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    async with kb.Supervisor(nodes, TOPICS) as tree:
        [here] = await members(tree, "here")
        one, other = await members(tree, "one", "other", on="n1")
        [two] = await members(tree, "two", on="n2")
        everybody = (here, one, other, two)
        for each in everybody:
            await each.call(Member.subscribe, "a")

        assert 4 == await two.call(Member.broadcast, "a", "all")
        assert 3 == await one.call(Member.broadcast_from, "a", "but one")
        assert 2 == await one.call(Member.local_broadcast, "a", "on n1")
        assert 1 == await here.call(Member.local_broadcast, "a", "at home")
        assert [
            ["all", "but one", "at home"],
            ["all", "on n1"],
            ["all", "but one", "on n1"],
            ["all", "but one"],
        ] == [await each.call(Member.seen) for each in everybody]
        os.kill(await _pid_of(tree, "n1"), 9)
        await one.wait_exit()
        await other.wait_exit()
        assert 2 == await two.call(Member.broadcast, "a", "the rest")


async def _pid_of(tree: kb.Supervisor, node: str) -> int:
    children = await tree.ref(kb.Supervisor, "nodes").call(kb.Supervisor.which_children)
    ref = next(child.ref for child in children if child.id == node)
    assert ref is not None
    pid = (await ref.call(kb.WorkerNode.statistics)).pid
    assert pid is not None
    return int(pid)
