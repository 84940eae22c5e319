"""Monitors: each yields exactly one `Down`, whatever happens, unless it is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

import koboshi as kb


async def on_word(reason: object) -> None:
    """End for `reason` at the word."""
    await kb.receive(str)
    raise kb.Stop(reason)


async def in_process(body: Any) -> None:
    """Run a coroutine function as a process and fail as it fails."""
    errors: list[BaseException] = []

    async def run() -> None:
        try:
            await body()
        except BaseException as error:
            errors.append(error)
            raise

    ended = await kb.spawn(run).wait_exit(50)
    if errors:
        raise errors[0]
    assert ended == kb.Normal()


@pytest.mark.parametrize(
    "reason",
    [kb.Normal(), kb.Shutdown(), kb.Exited(3), kb.Kill(), kb.Crashed(ValueError("x"))],
    ids=repr,
)
async def test_a_monitor_tells_the_reason_of_the_end_once(reason: kb.ExitReason) -> None:
    async def body() -> None:
        target = kb.spawn(on_word, reason)
        watch = kb.monitor(target)
        target.tell("go")
        assert await kb.receive(timeout=2) == kb.Down(watch, target, reason)
        await target.wait_exit(2)
        assert await kb.receive(timeout=0) == kb.Timeout()

    await in_process(body)


async def test_a_killed_target_is_down_as_killed() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Normal())
        watch = kb.monitor(target)
        target.kill()
        assert await kb.receive(timeout=2) == kb.Down(watch, target, kb.Killed())

    await in_process(body)


async def test_a_dead_target_is_down_at_once_with_noproc() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Exited("long ago"))
        target.tell("go")
        await target.wait_exit(2)
        watch = kb.monitor(target)
        assert await kb.receive(timeout=0) == kb.Down(watch, target, kb.NoProc())
        assert await kb.receive(timeout=0) == kb.Timeout()

    await in_process(body)


async def test_a_name_that_nobody_holds_is_down_at_once_with_noproc() -> None:
    async def body() -> None:
        address = kb.named("nobody has this")
        watch = kb.monitor(address)
        assert await kb.receive(timeout=0) == kb.Down(watch, address, kb.NoProc())

    await in_process(body)


async def test_two_monitors_on_one_target_yield_two_downs() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Exited("x"))
        first, second = kb.monitor(target), kb.monitor(target)
        target.tell("go")
        downs = [await kb.receive(kb.Down, timeout=2) for _ in range(2)]
        assert downs == [kb.Down(first, target, kb.Exited("x")), kb.Down(second, target, kb.Exited("x"))]
        assert first != second

    await in_process(body)


async def test_a_monitor_does_not_touch_its_target() -> None:
    target = kb.spawn(on_word, kb.Normal())

    async def watcher() -> None:
        kb.monitor(target)
        raise kb.Stop("the watcher's end")

    assert await kb.spawn(watcher).wait_exit(2) == kb.Exited("the watcher's end")
    assert target.alive
    assert kb.info(target).watched_by == 0
    target.kill()
    await target.wait_exit(2)


async def test_a_cancelled_monitor_is_silent() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Normal())
        watch = kb.monitor(target)
        assert watch.cancel() is True
        assert watch.cancel() is False
        target.tell("go")
        await target.wait_exit(2)
        assert await kb.receive(timeout=0) == kb.Timeout()

    await in_process(body)


async def test_cancelling_leaves_a_down_that_is_queued_already() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Normal())
        watch = kb.monitor(target)
        target.tell("go")
        await target.wait_exit(2)
        assert watch.cancel() is False
        assert await kb.receive(timeout=0) == kb.Down(watch, target, kb.Normal())

    await in_process(body)


async def test_cancelling_with_flush_takes_its_queued_down_and_nothing_else() -> None:
    async def body() -> None:
        target = kb.spawn(on_word, kb.Normal())
        me = kb.me()
        me.tell("before")
        watch, other = kb.monitor(target), kb.monitor(target)
        target.tell("go")
        await target.wait_exit(2)
        me.tell("after")
        watch.cancel(flush=True)
        left = [await kb.receive(timeout=0) for _ in range(4)]
        assert left == ["before", kb.Down(other, target, kb.Normal()), "after", kb.Timeout()]

    await in_process(body)


async def test_a_monitor_by_name_watches_the_present_holder_and_shows_the_name() -> None:
    async def body() -> None:
        first = kb.spawn(on_word, kb.Exited("first"))
        kb.register("post", first)
        address = kb.named("post")
        watch = kb.monitor(address)
        first.tell("go")
        await first.wait_exit(2)
        second = kb.spawn(on_word, kb.Exited("second"))
        kb.register("post", second)
        assert await kb.receive(timeout=0) == kb.Down(watch, address, kb.Exited("first"))
        second.tell("go")
        await second.wait_exit(2)
        # It does not follow the name to the next holder.
        assert await kb.receive(timeout=0) == kb.Timeout()

    await in_process(body)


async def test_a_monitor_by_name_stays_with_a_holder_that_gives_the_name_away() -> None:
    async def body() -> None:
        first, second = kb.spawn(on_word, kb.Exited(1)), kb.spawn(on_word, kb.Exited(2))
        kb.register("moved", first)
        watch = kb.monitor(kb.named("moved"))
        kb.unregister("moved")
        kb.register("moved", second)
        second.tell("go")
        await second.wait_exit(2)
        assert await kb.receive(timeout=0) == kb.Timeout()
        first.tell("go")
        assert await kb.receive(timeout=2) == kb.Down(watch, kb.named("moved"), kb.Exited(1))

    await in_process(body)


async def test_spawn_monitor_sees_an_end_at_the_first_step() -> None:
    async def fails() -> None:
        raise KeyError("at once")

    async def body() -> None:
        target, watch = kb.spawn_monitor(fails)
        assert await kb.receive(timeout=2) == kb.Down(watch, target, kb.Crashed(KeyError("at once")))

    await in_process(body)


async def test_messages_sent_before_the_end_arrive_before_exit_and_down() -> None:
    async def body() -> None:
        owner = kb.me()

        async def talks() -> None:
            for number in range(100):
                owner.tell(number)
            raise kb.Stop("talked")

        kb.trap_exits()
        target = kb.spawn_link(talks)
        watch = kb.monitor(target)
        got = [await kb.receive(timeout=2) for _ in range(102)]
        assert got[:100] == list(range(100))
        assert got[100:] == [
            kb.Exit(target, kb.Exited("talked")),
            kb.Down(watch, target, kb.Exited("talked")),
        ]

    await in_process(body)


async def test_an_actors_casts_and_calls_before_its_end_arrive_before_its_down() -> None:
    class Log(kb.Actor):
        def __init__(self) -> None:
            self.lines: list[object] = []

        @kb.message
        def watch(self, other: kb.ActorRef[Any]) -> None:
            kb.monitor(other)

        @kb.message
        def note(self, line: object) -> None:
            self.lines.append(line)

        def on_down(self, down: kb.Down) -> None:
            self.lines.append(down.reason)

        @kb.message
        def read(self) -> list[object]:
            return self.lines

    class Talker(kb.Actor):
        @kb.message
        async def talk(self, log: kb.ActorRef[Log]) -> None:
            log.cast(Log.note, 1)
            await log.call(Log.note, 2)
            log.cast(Log.note, 3)
            raise ValueError("done")

    log, talker = await kb.start(Log), await kb.start(Talker)
    await log.call(Log.watch, talker)
    with pytest.raises(kb.ActorExited):
        await talker.call(Talker.talk, log)

    assert await log.call(Log.read) == [1, 2, 3, kb.Crashed(ValueError("done"))]
    await log.stop()


async def test_names_and_timers_are_free_before_exit_and_down_arrive_2000_times() -> None:
    async def body() -> None:
        kb.trap_exits()
        me = kb.me()

        async def holder() -> None:
            kb.register("the name")
            await kb.receive()
            raise kb.Stop("x")

        for round_number in range(2000):
            if round_number % 2:
                target = kb.spawn_link(holder)
                kind: type[Any] = kb.Exit
            else:
                target, _ = kb.spawn_monitor(holder)
                kind = kb.Down
            if round_number % 3:
                target.tell("end")
            else:
                kb.spawn(_kill, target)
            await kb.receive(kind, timeout=5)
            assert kb.whereis("the name") is None
            kb.register("the name", me)  # would raise NameTaken
            kb.unregister("the name")

    await in_process(body)


async def _kill(target: kb.ActorRef[Any]) -> None:
    target.kill()


async def test_a_timer_to_a_process_is_over_before_its_down_arrives() -> None:
    class Ticked(kb.Actor):
        @kb.message
        def tick(self) -> None: ...

    async def body() -> None:
        target = await kb.start(Ticked)
        once, often = target.send_after(60, Ticked.tick), target.send_interval(60, Ticked.tick)
        kb.monitor(target)
        target.kill()
        await kb.receive(kb.Down, timeout=2)
        assert (once.left, often.left) == (None, None)

    await in_process(body)


async def test_a_thousand_watchers_each_get_one_down() -> None:
    async def body() -> None:
        me = kb.me()
        target = kb.spawn(on_word, kb.Exited("x"))

        async def watcher() -> None:
            kb.monitor(target)
            me.tell("watching")
            await kb.receive(kb.Down)
            me.tell(await kb.receive(timeout=0))

        for _ in range(1000):
            kb.spawn(watcher)
        for _ in range(1000):
            assert await kb.receive(timeout=5) == "watching"
        target.tell("go")
        assert {kb.Timeout()} == {await kb.receive(timeout=5) for _ in range(1000)}

    await in_process(body)
