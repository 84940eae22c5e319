"""Failover: change-overs on failure and silence, back on recovery, nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.otp.failover.sources import Log, Sink
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp

RETRY = kb.Backoff(1.0, 4.0)


class World:
    """A failover over a log, with a sink that is restarted."""

    def __init__(self, tree: kb.Supervisor, log: Log, events: list[Any]) -> None:
        self.tree = tree
        self.log = log
        self.events = events
        self.sink = tree.ref(Sink, "sink")

    async def start(self, *sources: Any, **options: Any) -> None:
        options = {"stale_after": 5.0, "retry": RETRY, **options}
        spec = kb.child(otp.Failover, *sources, consumer=self.sink, message=Sink.take, **options)
        await self.tree.start_child(spec.options(id="failover"))
        self.failover = self.tree.ref(otp.Failover, "failover")

    async def figures(self) -> otp.FailoverStatistics:
        return await self.failover.call(otp.Failover.statistics)

    async def taken(self) -> list[Any]:
        return await self.sink.call(Sink.taken)

    def changes(self) -> list[str]:
        return [each.source for each in self.events if isinstance(each, otp.ChangedOver)]


def in_world(test: Callable[[World], Awaitable[None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def main() -> None:
        events: list[Any] = []
        sink = kb.child(Sink).options(id="sink")
        async with kb.Supervisor(sink, max_restarts=100) as tree:
            stop = kb.listen(events.append)
            await test(World(tree, Log(), events))
            stop()

    return main


def test_the_preferred_source_is_polled_from_the_cursor_of_the_last_item() -> None:
    async def body(world: World) -> None:
        await world.log.grow(3)
        await world.start(world.log.poll("a"), world.log.poll("b"))
        await asyncio.sleep(0.5)
        assert [1, 2, 3] == await world.taken()
        await world.log.grow(2)
        await asyncio.sleep(1.0)

        assert [1, 2, 3, 4, 5] == await world.taken()
        assert [("a", None), ("a", 3)] == world.log.polls
        figures = await world.figures()
        assert ("a", 5, 5, 0) == (figures.active, figures.cursor, figures.delivered, figures.changeovers)
        assert ["active", "standby"] == [each.state for each in figures.sources]

    run_virtual(in_world(body))


@pytest.mark.parametrize("kind", ["poll", "push"])
def test_a_failed_source_is_followed_by_the_next_which_resumes_at_the_cursor(kind: str) -> None:
    async def body(world: World) -> None:
        log = world.log
        await log.grow(3)
        await world.start(getattr(log, kind)("a"), getattr(log, kind)("b"))
        await asyncio.sleep(0.5)
        log.down.add("a")
        await log.grow(2)
        await asyncio.sleep(0.9)

        assert [1, 2, 3, 4, 5] == await world.taken()
        assert ["a", "b"] == world.changes()
        assert 1 == (await world.figures()).changeovers
        failed = next(each for each in world.events if isinstance(each, otp.SourceFailed))
        assert ("a", 1.0) == (failed.source, failed.retry_in)
        assert "ConnectionError" in failed.why

    run_virtual(in_world(body))


@pytest.mark.parametrize("kind", ["poll", "push"])
def test_a_silent_source_is_followed_by_the_next_after_stale_after(kind: str) -> None:
    async def body(world: World) -> None:
        log = world.log
        log.silent.add("a")
        await log.grow(2)
        await world.start(getattr(log, kind)("a"), getattr(log, kind)("b"))
        await asyncio.sleep(4.9)
        assert [] == await world.taken()
        await asyncio.sleep(0.2)

        assert [1, 2] == await world.taken()
        assert ["a", "b"] == world.changes()
        assert any(
            "silent for 5 s" in each.why for each in world.events if isinstance(each, otp.SourceFailed)
        )

    run_virtual(in_world(body))


def test_a_poll_that_returns_no_pair_of_items_and_cursor_has_failed_and_says_so() -> None:
    async def test(world: World) -> None:
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def listen(event: Any) -> None:
            if isinstance(event, otp.SourceFailed) and not failed.done():
                failed.set_result(event.why)

        stop = kb.listen(listen)

        async def poll(cursor: Any) -> Any:
            return 3

        await world.start(otp.Poll("feed", poll))

        assert "the poll of 'feed' returns (items, cursor), got 3" in await failed
        stop()

    run_virtual(in_world(test))


def test_a_heartbeat_and_an_empty_poll_are_no_silence() -> None:
    async def beats(feed: otp.Feed) -> None:
        while True:
            await asyncio.sleep(2.0)
            await feed.heartbeat()

    async def body(world: World) -> None:
        await world.start(otp.Push("a", beats), world.log.poll("b"))
        await asyncio.sleep(60.0)
        assert ["a"] == world.changes()

    async def polled(world: World) -> None:
        await world.start(world.log.poll("a"), world.log.poll("b"))
        await asyncio.sleep(60.0)
        assert ["a"] == world.changes()

    run_virtual(in_world(body))
    run_virtual(in_world(polled))


@pytest.mark.parametrize("kind", ["poll", "push"])
def test_a_recovered_source_takes_over_again_without_loss_or_repetition(kind: str) -> None:
    async def body(world: World) -> None:
        log = world.log
        log.down.add("a")
        await world.start(getattr(log, kind)("a"), getattr(log, kind)("b"))
        for _ in range(20):
            await log.grow()
            await asyncio.sleep(0.7)
        assert "b" == (await world.figures()).active
        log.down.clear()
        for _ in range(20):
            await log.grow()
            await asyncio.sleep(0.7)
        await asyncio.sleep(2.0)

        assert "a" == (await world.figures()).active
        assert list(range(1, 41)) == await world.taken()

    run_virtual(in_world(body))


def test_when_a_preferred_source_takes_over_the_other_is_stopped() -> None:
    async def body(world: World) -> None:
        log = world.log
        log.down.add("a")
        await world.start(log.push("a"), log.push("b"))
        await asyncio.sleep(0.5)
        log.down.clear()
        await asyncio.sleep(0.7)
        assert 2 == (await world.figures()).running  # a is tried
        await log.grow()
        await asyncio.sleep(0.1)

        assert ("a", 1) == ((await world.figures()).active, (await world.figures()).running)
        assert [1] == await world.taken()

    run_virtual(in_world(body))


def test_a_failed_source_is_probed_with_a_growing_wait_while_the_other_goes_on() -> None:
    async def body(world: World) -> None:
        log = world.log
        log.down.add("a")
        began = asyncio.get_running_loop().time()
        tried: list[float] = []
        stop = kb.listen(
            lambda event: (
                tried.append(asyncio.get_running_loop().time() - began)
                if isinstance(event, otp.SourceFailed)
                else None
            )
        )
        await world.start(log.poll("a"), log.poll("b"))
        await asyncio.sleep(12.0)
        stop()

        assert [0.0, 1.0, 3.0, 7.0, 11.0] == [round(each, 3) for each in tried]
        assert ["a", "b"] == world.changes()

    run_virtual(in_world(body))


def test_with_all_sources_down_it_waits_and_begins_again_with_the_first_that_works() -> None:
    async def body(world: World) -> None:
        log = world.log
        log.down |= {"a", "b"}
        await log.grow(2)
        await world.start(log.poll("a"), log.poll("b"))
        await asyncio.sleep(3.5)
        assert None is (await world.figures()).active
        log.down.remove("b")
        await asyncio.sleep(5.0)

        assert [1, 2] == await world.taken()
        assert "b" == (await world.figures()).active

    run_virtual(in_world(body))


def test_a_superseded_source_that_delivers_is_told_so_and_its_item_is_not_taken() -> None:
    async def body(world: World) -> None:
        kept: list[otp.Feed] = []

        async def first(feed: otp.Feed) -> None:
            kept.append(feed)
            raise ConnectionError("first")

        await world.log.grow(1)
        await world.start(otp.Push("a", first), world.log.push("b"))
        await asyncio.sleep(0.1)

        with pytest.raises(otp.NotActive):
            await kept[0].deliver("late", 2)
        with pytest.raises(otp.NotActive):
            await kept[0].heartbeat()
        assert [1] == await world.taken()

    run_virtual(in_world(body))


def test_a_push_source_that_replays_is_taken_from_where_the_other_stopped() -> None:
    async def body(world: World) -> None:
        async def replays(feed: otp.Feed) -> None:
            for n in range(1, 6):
                await feed.deliver(n, n)
            await asyncio.Event().wait()

        await world.log.grow(3)
        await world.start(otp.Push("a", replays), world.log.push("b"), cursor=lambda: 2)
        await asyncio.sleep(0.1)

        assert [3, 4, 5] == await world.taken()
        assert 2 == (await world.figures()).duplicates

    run_virtual(in_world(body))


def test_a_slow_consumer_slows_the_source_down() -> None:
    class Slow(kb.Actor):
        def __init__(self) -> None:
            self.items: list[int] = []

        @kb.message
        async def take(self, item: int) -> None:
            await asyncio.sleep(20.0)
            self.items.append(item)

    async def body(world: World) -> None:
        slow = await kb.start(Slow)
        given: list[int] = []

        async def fast(feed: otp.Feed) -> None:
            for n in range(1, 100):
                await feed.deliver(n, n)
                given.append(n)

        spec = kb.child(
            otp.Failover, otp.Push("a", fast), consumer=slow, message=Slow.take, stale_after=5.0, retry=RETRY
        )
        await world.tree.start_child(spec.options(id="failover", shutdown="kill"))
        await asyncio.sleep(70.0)

        assert [1, 2, 3] == given
        assert ["a"] == world.changes()  # who waits for its consumer is not silent

    run_virtual(in_world(body))


def test_while_the_consumer_is_away_the_item_waits_and_one_it_dies_of_is_not_repeated() -> None:
    async def body(world: World) -> None:
        async def feeds(feed: otp.Feed) -> None:
            for n, item in enumerate(["poison", "one", "two"]):
                await feed.deliver(item, n)
            await asyncio.Event().wait()

        await world.tree.terminate_child("sink")
        await world.start(otp.Push("a", feeds))
        await asyncio.sleep(3.5)
        assert 0 == len([each for each in world.events if isinstance(each, otp.ItemRejected)])
        await world.tree.restart_child("sink")
        await asyncio.sleep(30.0)

        assert ["one", "two"] == await world.taken()
        rejected = [each for each in world.events if isinstance(each, otp.ItemRejected)]
        assert [("a", kb.ActorExited)] == [(each.source, type(each.error)) for each in rejected]
        assert (2, 1) == ((await world.figures()).delivered, (await world.figures()).rejected)

    run_virtual(in_world(body))


def test_its_sources_end_with_it_whether_it_is_stopped_or_killed() -> None:
    async def body(world: World) -> None:
        ended: list[str] = []

        async def waits(feed: otp.Feed) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(feed.source)

        await world.start(otp.Push("a", waits))
        await asyncio.sleep(0.1)
        world.failover.kill()
        await asyncio.sleep(0.1)
        assert ["a"] == ended
        await world.tree.terminate_child("failover")

        assert ["a", "a"] == ended

    run_virtual(in_world(body))


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["down", "silent", "up"])), max_size=12),
    st.tuples(st.sampled_from(["poll", "push"]), st.sampled_from(["poll", "push"])),
)
def test_whatever_fails_when_no_item_is_lost_or_delivered_twice(
    faults: list[tuple[str, str]], kinds: tuple[str, str]
) -> None:
    async def body(world: World) -> None:
        log = world.log
        await world.start(*(getattr(log, kind)(name) for kind, name in zip(kinds, "ab", strict=True)))
        for name, fault in faults:
            log.down.discard(name)
            log.silent.discard(name)
            if fault != "up":
                getattr(log, fault).add(name)
            await log.grow(2)
            await asyncio.sleep(1.7)
        log.down.clear()
        log.silent.clear()
        await log.grow(1)
        await asyncio.sleep(30.0)

        assert list(range(1, log.end + 1)) == await world.taken()

    run_virtual(in_world(body))


async def nothing(cursor: Any) -> tuple[list[Any], Any]:
    return [], cursor


@pytest.mark.parametrize(
    ("sources", "options", "told"),
    [
        ((), {}, "at least one source"),
        ((1,), {}, "otp.Push(...) and otp.Poll(...), got 1"),
        ((otp.Poll("a", nothing), otp.Poll("a", nothing)), {}, "a name of its own"),
        ((otp.Poll("a", nothing),), {"consumer": 1}, "consumer takes the ref of an actor"),
        ((otp.Poll("a", nothing),), {"message": "take"}, "message takes a message of the consumer"),
        ((otp.Poll("a", nothing),), {"stale_after": 0}, "stale_after takes seconds > 0, got 0"),
        ((otp.Poll("a", nothing, 20.0),), {}, "stale_after must be longer than the 20 s"),
        ((otp.Poll("a", nothing),), {"retry": None}, "retry takes a kb.Backoff"),
    ],
)
async def test_a_wrong_option_is_refused_by_name(
    sources: tuple[Any, ...], options: dict[str, Any], told: str
) -> None:
    sink = await kb.start(Sink)
    with pytest.raises(kb.UsageError, match=re.escape(told)):
        otp.Failover(*sources, **{"consumer": sink, "message": Sink.take, **options})


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(kb.UsageError, match="name takes a string"):
        otp.Push("", nothing)
    with pytest.raises(kb.UsageError, match="async function or an actor class, got 3"):
        otp.Push("a", 3)  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="every takes seconds > 0, got 0"):
        otp.Poll("a", nothing, 0)


def test_not_active_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(otp.NotActive(3)))

    assert (otp.NotActive, 3) == (type(error), error.run)


async def test_its_options_are_refused_by_their_own_names() -> None:
    source = otp.Poll("a", print, every=1.0)  # type: ignore[arg-type]
    sink = await kb.start(Sink)

    with pytest.raises(kb.UsageError, match=r"^retry takes kb\.Backoff.*got 3"):
        otp.Failover(source, consumer=sink, message=Sink.take, retry=3)  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match=r"kb\.whereis\(name\).*got 'sink'"):
        otp.Failover(source, consumer="sink", message=Sink.take)  # type: ignore[arg-type]
