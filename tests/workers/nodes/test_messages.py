"""Messages between nodes: what is promised inside one process holds between them."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.workers.nodes.agents import Agent, CannotArrive, mirror
from tests.workers.nodes.conftest import World

import koboshi as kb

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_a_call_reaches_another_process_and_its_reply_comes_back(world: World) -> None:
    pids = [await each.call(Agent.pid) for each in (world.home, world.one, world.two)]

    assert os.getpid() == pids[0]
    assert 3 == len(set(pids))
    assert {"a": [1, 2]} == await world.one.call(Agent.echo, {"a": [1, 2]})


async def test_calls_go_from_worker_to_worker_and_from_worker_to_root(world: World) -> None:
    assert "hello" == await world.one.call(Agent.call, world.two, "hello")
    assert ["x"] == await world.two.call(Agent.call, world.home, ["x"])


async def test_messages_of_each_sender_arrive_in_order_and_once(world: World) -> None:
    count = 2_000
    other = await world.agent("other", "n2")
    await asyncio.gather(
        *(each.call(Agent.cast_all, world.one, count) for each in (world.home, world.two, other))
    )

    heard = await world.one.within(30).call(Agent.once_heard, 3 * count)

    for sender in ("home", "two", "other"):
        assert list(range(count)) == [number for name, number in heard if name == sender]


async def test_messages_sent_before_an_end_arrive_before_it(world: World) -> None:
    await world.two.call(Agent.watch, world.one)
    world.one.cast(Agent.cast_and_die, world.two, 500)

    heard = await world.two.call(Agent.once_heard, 501)

    assert [("one", number) for number in range(500)] == heard[:500]
    assert ("down", kb.Normal()) == heard[500]


async def test_send_waits_for_room_and_nothing_is_lost(world: World) -> None:
    small = await world.agent("small", "n1", mailbox=4)

    assert 300 == await world.two.within(30).call(Agent.send_all, small, 300)
    assert list(range(300)) == await small.call(Agent.once_heard, 300)


async def test_a_full_mailbox_elsewhere_refuses_casts_where_they_are_made(world: World) -> None:
    small = await world.agent("small", "n1", mailbox=10)
    small.suspend()
    await world.one.call(Agent.echo, 0)  # the suspension is there by now
    sent = 0
    with pytest.raises(kb.MailboxFull) as refused:
        while True:
            small.cast(Agent.note, sent)
            sent += 1
            if sent % 50 == 0:
                await world.one.call(Agent.echo, 0)  # what was sent has arrived, and its answer too
            assert sent < 10_000
    with pytest.raises(kb.MailboxFull):
        await small.call(Agent.echo, 0)
    small.resume()

    assert 10 == refused.value.limit
    await small.send(Agent.note, "again")
    heard = await world.one.call(Agent.call_when_room, small, sent + 1)
    assert [*range(sent), "again"] == heard
    small.cast(Agent.note, "and again")
    assert "and again" == (await small.call(Agent.once_heard, sent + 2))[-1]


async def test_tell_reaches_on_info_of_an_actor(world: World) -> None:
    world.one.tell({"raw": 1})

    assert [{"raw": 1}] == await world.one.call(Agent.once_heard, 1)


async def test_ask_brings_what_is_sent_to_the_reply_address(world: World) -> None:
    answer = await world.one.ask(lambda reply_to: ("ask", reply_to, 7))  # type: ignore[var-annotated]

    assert ("answer", 7) == answer


async def test_a_reply_may_be_deferred_and_is_taken_once(world: World) -> None:
    waiting = asyncio.create_task(world.one.call(Agent.answer_later))
    await asyncio.sleep(0)  # it has been sent, ahead of what follows

    assert await world.one.call(Agent.answer_now, 42)
    assert 42 == await waiting
    assert not await world.one.call(Agent.answer_now, 43)


async def test_a_bare_process_on_a_node_answers_to_an_alias(world: World) -> None:
    process = await world.tree.start_child(
        kb.child(mirror).options(id="mirror", on="n1", restart="temporary")
    )
    got: list[object] = []

    async def ask() -> None:
        process.tell(("say", "koboshi", kb.alias()))
        got.append(await kb.receive())

    await kb.spawn(ask).wait_exit()
    process.tell("end")

    assert ["koboshi"] == got
    assert kb.Normal() == await process.wait_exit(5)


async def test_a_correlation_id_goes_along(world: World) -> None:
    token = kb.correlation_id.set("request-7")
    try:
        assert "request-7" == await world.one.call(Agent.correlation)
    finally:
        kb.correlation_id.reset(token)
    assert await world.one.call(Agent.correlation) is None


async def test_a_deadline_travels(world: World) -> None:
    left = await world.one.within(3.0).call(Agent.left)

    assert left is not None
    assert 2.0 < left <= 3.0
    assert await world.one.within(None).call(Agent.left) is None


async def test_a_call_that_timed_out_before_it_was_started_is_never_executed(world: World) -> None:
    world.one.suspend()
    with pytest.raises(kb.CallTimeout):
        await world.one.within(0.05).call(Agent.note, "late")
    world.one.resume()

    assert [] == await world.one.call(Agent.heard_so_far)


async def test_a_call_whose_caller_was_cancelled_is_not_executed(world: World) -> None:
    world.one.suspend()
    waiting = asyncio.create_task(world.one.within(None).call(Agent.note, "late"))
    await world.two.call(Agent.echo, 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.one.resume()

    assert [] == await world.one.call(Agent.heard_so_far)


async def test_what_cannot_be_pickled_is_refused_at_the_sender_by_name(world: World) -> None:
    with pytest.raises(kb.NotPicklable, match=r"argument 1 \(function\) of Agent\.echo"):
        await world.one.call(Agent.echo, lambda: None)
    with pytest.raises(kb.NotPicklable):
        world.one.cast(Agent.note, lambda: None)

    assert 1 == await world.one.call(Agent.echo, 1)


async def test_a_reply_that_cannot_be_pickled_costs_its_call_only(world: World) -> None:
    with pytest.raises(kb.ResultNotPicklable, match="function"):
        await world.one.call(Agent.nothing_to_pickle)

    assert 1 == await world.one.call(Agent.echo, 1)


async def test_arguments_that_cannot_be_rebuilt_cost_their_message_only(world: World) -> None:
    with pytest.raises(RuntimeError, match="it exploded on arrival"):
        await world.one.call(Agent.echo, CannotArrive())
    world.one.cast(Agent.note, CannotArrive())
    world.one.tell(CannotArrive())

    assert 1 == await world.one.call(Agent.echo, 1)
    assert [] == await world.one.call(Agent.heard_so_far)


@pytest.mark.parametrize("where", ["n1", None])
async def test_what_asks_for_an_exit_while_it_is_rebuilt_ends_no_process(
    world: World, where: str | None
) -> None:
    receiver = await world.agent("receiver", where)
    sender = world.one if where is None else world.home
    await sender.call(Agent.pester, receiver)

    assert [("pestered",)] == await receiver.call(Agent.once_heard, 1)


async def test_what_is_changed_after_it_was_sent_is_not_seen(world: World) -> None:
    numbers = [1, 2, 3]
    world.one.cast(Agent.note, numbers)
    numbers.append(4)

    assert [[1, 2, 3]] == await world.one.call(Agent.once_heard, 1)


async def test_wrong_arguments_are_refused_at_the_sender(world: World) -> None:
    with pytest.raises(kb.UsageError, match="do not fit"):
        await world.one.call(Agent.echo)
    with pytest.raises(kb.UsageError, match="not marked"):
        await world.one.call(Agent.hear, 1)  # type: ignore[arg-type]


async def test_a_timer_sends_to_another_node(world: World) -> None:
    world.one.send_after(0.01, Agent.note, "tick")

    assert ["tick"] == await world.one.call(Agent.once_heard, 1)


async def test_a_message_over_the_frame_limit_is_refused_at_the_sender(world: World) -> None:
    with pytest.raises(kb.FrameTooLarge, match="67,108,864"):
        await world.one.call(Agent.echo, "x" * (64 * 1024 * 1024 + 1))

    assert 1 == await world.one.call(Agent.echo, 1)


async def test_large_messages_go_through_whole(world: World) -> None:
    text = os.urandom(3_000_000).hex()

    assert text == await world.one.within(30).call(Agent.call, world.two, text)
