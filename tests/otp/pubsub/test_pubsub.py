"""Topics in one process: who gets what, once, and what slow and dead subscribers cost others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.otp.members import Member

import koboshi as kb
from koboshi import otp


@pytest.fixture
async def topics() -> AsyncIterator[otp.PubSubHandle]:
    async with kb.Supervisor(kb.child(otp.PubSub).options(name="pubsub"), max_restarts=1000):
        yield otp.pubsub("pubsub")


async def subscribed(topics: otp.PubSubHandle, *names: Any, **options: Any) -> kb.ActorRef[Member]:
    ref = await kb.start(Member, **options)
    for name in names:
        await ref.call(Member.do, topics, "subscribe", name)
    return ref


async def test_a_message_goes_to_all_who_are_subscribed_to_its_topic(topics: otp.PubSubHandle) -> None:
    one, two, other = (
        await subscribed(topics, "t"),
        await subscribed(topics, "t"),
        await subscribed(topics, "o"),
    )
    for n in range(3):
        await topics.broadcast("t", n)

    assert [0, 1, 2] == await one.call(Member.once_heard, 3)
    assert [0, 1, 2] == await two.call(Member.once_heard, 3)
    assert [] == await other.call(Member.once_heard, 0)


async def test_one_copy_comes_however_often_one_has_subscribed(topics: otp.PubSubHandle) -> None:
    one = await subscribed(topics, "t", "t", "t")
    await topics.broadcast("t", 1)
    assert [1] == await one.call(Member.once_heard, 1)
    await one.call(Member.do, topics, "unsubscribe", "t")
    await one.call(Member.do, topics, "unsubscribe", "t")
    await topics.broadcast("t", 2)

    assert [1] == await one.call(Member.once_heard, 1)
    figures = await topics.statistics()
    assert (0, 0, 2, 1) == (figures.topics, figures.subscribers, figures.broadcasts, figures.delivered)


async def test_who_leaves_a_topic_and_comes_back_at_once_is_subscribed(topics: otp.PubSubHandle) -> None:
    server = topics._ref
    one = await subscribed(topics, "t")
    server.suspend()  # a message to it about the leaving would now come after the coming back
    await one.call(Member.do, topics, "unsubscribe", "t")
    await one.call(Member.do, topics, "subscribe", "t")
    server.resume()
    await topics.statistics()
    await topics.broadcast("t", 1)

    assert [1] == await one.call(Member.once_heard, 1)


async def test_broadcast_from_spares_its_sender(topics: otp.PubSubHandle) -> None:
    one, two = await subscribed(topics, "t"), await subscribed(topics, "t")
    await one.call(Member.do, topics, "broadcast_from", "t", "hello")
    await one.call(Member.do, topics, "broadcast", "t", "all")

    assert ["all"] == await one.call(Member.once_heard, 1)
    assert ["hello", "all"] == await two.call(Member.once_heard, 2)


async def test_a_topic_without_subscribers_swallows_a_message(topics: otp.PubSubHandle) -> None:
    await topics.broadcast("nobody", 1)
    await topics.local_broadcast("nobody", 1)

    assert 0 == (await topics.statistics()).delivered


async def test_a_full_mailbox_misses_the_message_and_nobody_else_does(topics: otp.PubSubHandle) -> None:
    events: list[kb.events.Event] = []
    stop = kb.listen(events.append)
    async with kb.Supervisor(kb.child(Member).options(mailbox=2)) as tree:
        slow = tree.ref(Member, "Member")
        await slow.call(Member.do, topics, "subscribe", "t")
        fast = await subscribed(topics, "t")
        slow.suspend()
        for n in range(5):
            await topics.broadcast("t", n)
        slow.resume()

        assert [0, 1, 2, 3, 4] == await fast.call(Member.once_heard, 5)
        assert [0, 1] == await slow.call(Member.once_heard, 2)
    stop()
    figures = await topics.statistics()

    assert (7, 3) == (figures.delivered, figures.dropped)
    assert 3 == sum(isinstance(each, kb.events.Dropped) for each in events)


async def test_the_dead_are_subscribed_no_more(topics: otp.PubSubHandle) -> None:
    one, two = await subscribed(topics, "t", "u"), await subscribed(topics, "t")
    one.kill()
    await one.wait_exit()
    await topics.broadcast("t", 1)
    assert [1] == await two.call(Member.once_heard, 1)
    figures = await topics.statistics()

    assert (1, 1, 1) == (figures.topics, figures.subscribers, figures.delivered)


async def test_one_that_left_everything_is_tied_to_nothing(topics: otp.PubSubHandle) -> None:
    one = await subscribed(topics, "t", "u")
    assert 1 == kb.info(one).links
    for name in ("t", "u"):
        await one.call(Member.do, topics, "unsubscribe", name)

    assert (0, 0) == (kb.info(one).links, kb.info(one).watched_by)


@pytest.mark.parametrize("reason", [kb.Normal(), kb.Exited("x"), kb.Kill()], ids=repr)
async def test_the_end_of_a_pubsub_is_the_end_of_its_subscribers(reason: kb.ExitReason) -> None:
    ref = await kb.start(otp.PubSub)
    plain = await subscribed(otp.pubsub(ref), "t")
    trapping = await subscribed(otp.pubsub(ref), "t", traps=True)
    if reason == kb.Normal():
        await ref.stop()
    elif reason == kb.Kill():
        ref.kill()
    else:
        await ref.stop(reason)

    assert await plain.wait_exit(5) is not None
    assert isinstance((await trapping.call(Member.once_heard, 1))[0], kb.Exit)


async def test_after_a_restart_one_subscribes_anew(topics: otp.PubSubHandle) -> None:
    one = await subscribed(topics, "t", traps=True)
    old = kb.whereis("pubsub")
    assert old is not None
    old.kill()
    await one.call(Member.once_heard, 1)
    await one.call(Member.do, topics, "subscribe", "t")
    await topics.broadcast("t", "new")

    assert "new" == (await one.call(Member.once_heard, 2))[1]


async def test_what_cannot_be_a_topic_is_refused(topics: otp.PubSubHandle) -> None:
    one = await subscribed(topics)
    for what in (topics.broadcast([], 1), topics.local_broadcast([], 1)):
        with pytest.raises(kb.UsageError, match="topic must be hashable"):
            await what
    with pytest.raises(kb.NotInProcess):
        await topics.subscribe("t")
    with pytest.raises(kb.NotRunning):
        await otp.pubsub("nobody has this name").broadcast("t", 1)
    with pytest.raises(kb.UsageError, match="PubSub"):
        otp.pubsub(one)


async def test_it_prints_in_one_line(topics: otp.PubSubHandle) -> None:
    assert "<PubSub not started, 0 topics on 0 nodes>" == repr(otp.PubSub())
    assert repr(topics).startswith("<PubSubHandle of <ActorRef name 'pubsub'")
