"""Delivery: order per pair, at most once, one at a time, and as the right process."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._events import Event, Unhandled
from koboshi._kernel._node import this_node


class Log(kb.Actor):
    """Writes down what reaches it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @kb.message
    def put(self, entry: Any) -> None:
        self.seen.append(entry)

    @kb.message
    async def put_slowly(self, entry: Any) -> None:
        self.seen.append(("begin", entry))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.seen.append(("end", entry))

    @kb.message
    def read(self) -> list[Any]:
        return list(self.seen)

    def on_info(self, message: Any) -> None:
        self.seen.append(("info", message))

    def on_down(self, down: kb.Down) -> None:
        self.seen.append(("down", down.reason))


def events() -> list[Event]:
    """Everything that is reported from now on."""
    seen: list[Event] = []
    this_node().instruments.add(seen.append)
    return seen


# -- order and count ---------------------------------------------------------------------------------------


async def test_messages_of_one_sender_arrive_in_order_whatever_their_kind() -> None:
    log = await kb.start(Log)
    log.cast(Log.put, 1)
    log.tell(2)
    await log.send(Log.put, 3)
    log.cast(Log.put_slowly, 4)
    log.tell(5)
    await log.call(Log.put, 6)
    log.send_after(0, Log.put, 7)
    await asyncio.sleep(0)
    await log.call(Log.put, 8)

    seen = await log.call(Log.read)
    assert [1, ("info", 2), 3, ("begin", 4), ("end", 4), ("info", 5), 6] == seen[:7]
    assert {7, 8} >= set(seen[7:])


async def test_messages_of_each_sender_arrive_in_order_and_once_among_many_senders() -> None:
    log = await kb.start(Log)
    choose = random.Random(7)

    async def sender(name: int) -> None:
        for number in range(200):
            kind = choose.randrange(4)
            if kind == 0:
                log.cast(Log.put, (name, number))
            elif kind == 1:
                await log.send(Log.put, (name, number))
            elif kind == 2:
                await log.call(Log.put, (name, number))
            else:
                log.cast(Log.put, (name, number))
                await kb.receive(timeout=0)

    senders = [kb.spawn(sender, name) for name in range(10)]
    for each in senders:
        assert kb.Normal() == await each.wait_exit()
    seen = await log.call(Log.read)

    assert 10 * 200 == len(seen)
    for name in range(10):
        assert list(range(200)) == [number for who, number in seen if who == name]


async def test_what_a_process_sent_before_it_died_comes_before_its_down_message() -> None:
    log = await kb.start(Log)

    class Watcher(Log):
        @kb.message
        async def watch(self) -> None:
            me = self.me

            async def short() -> None:
                for number in range(3):
                    me.cast(Log.put, number)
                raise SystemExit(3)

            short_one = kb.spawn(short)
            kb.monitor(short_one)
            await short_one.wait_exit()

    watcher = await kb.start(Watcher)
    await watcher.call(Watcher.watch)
    seen = await watcher.call(Log.read)

    assert [0, 1, 2] == seen[:3]
    assert "down" == seen[3][0]
    assert log.alive


async def test_casts_to_a_dead_actor_are_lost_without_a_word() -> None:
    log = await kb.start(Log)
    await log.stop()

    log.cast(Log.put, 1)
    log.tell(2)


async def test_a_cast_to_a_name_that_nobody_holds_is_lost_but_tell_says_so() -> None:
    nobody = kb.named(Log, "no such log")
    nobody.cast(Log.put, 1)

    with pytest.raises(kb.NotRunning, match="no such log"):
        nobody.tell(1)


async def test_a_restarted_actor_has_an_empty_mailbox_and_a_new_state() -> None:
    class Fragile(Log):
        @kb.message
        def crash(self) -> None:
            raise ValueError("torn")

    async with kb.Supervisor(kb.child(Fragile)) as tree:
        ref = tree.ref(Fragile, "Fragile")
        await ref.call(Log.put, "before")
        ref.cast(Fragile.crash)
        for number in range(5):
            ref.cast(Log.put, number)
        await tree.wait_ready()
        ref.cast(Log.put, "after")

        while [] == (seen := await ref.call(Log.read)):
            await tree.wait_ready()
        assert ["after"] == seen


async def test_a_message_sent_to_a_stable_ref_reaches_the_new_incarnation() -> None:
    class Fragile(Log):
        @kb.message
        def crash(self) -> None:
            raise ValueError("torn")

    async with kb.Supervisor(kb.child(Fragile)) as tree:
        ref = tree.ref(Fragile, "Fragile")
        old = kb.info(ref).ref
        with pytest.raises(kb.ActorExited):
            await ref.call(Fragile.crash)
        await tree.wait_ready()

        assert [] == await ref.call(Log.read)
        assert not old.alive


# -- one at a time -----------------------------------------------------------------------------------------


async def test_an_actor_that_awaits_is_not_entered_again() -> None:
    log = await kb.start(Log)
    for number in range(3):
        log.cast(Log.put_slowly, number)
    await log.call(Log.put, "last")

    expected = [pair for number in range(3) for pair in (("begin", number), ("end", number))]
    assert [*expected, "last"] == await log.call(Log.read)


async def test_a_cast_to_oneself_runs_after_the_handler() -> None:
    class Selfish(Log):
        @kb.message
        def both(self) -> None:
            self.me.cast(Log.put, "cast")
            self.seen.append("handler")

    ref = await kb.start(Selfish)
    await ref.call(Selfish.both)

    assert ["handler", "cast"] == await ref.call(Log.read)


async def test_a_plain_handler_may_return_a_coroutine_which_is_then_awaited() -> None:
    class Either(kb.Actor):
        @kb.message
        def later(self, n: int) -> Any:
            async def work() -> int:
                await asyncio.sleep(0)
                return n + 1

            return work()

    either = await kb.start(Either)

    assert 2 == await either.call(Either.later, 1)
    assert 3 == await either.call(Either.later, 2)


async def test_an_overridden_message_is_reached_by_the_name_of_its_base() -> None:
    class Loud(Log):
        @kb.message
        def put(self, entry: Any) -> None:
            self.seen.append(str(entry).upper())

    loud: kb.ActorRef[Log] = await kb.start(Loud)
    await loud.call(Log.put, "a")

    assert ["A"] == await loud.call(Log.read)


async def test_an_undeclared_message_is_reported_and_dropped_and_the_state_stays() -> None:
    class Plain(kb.Actor):
        def __init__(self) -> None:
            self.count = 0

        @kb.message
        def add(self) -> int:
            self.count += 1
            return self.count

    seen = events()
    plain = await kb.start(Plain)
    await plain.call(Plain.add)
    plain.tell("what is this")

    assert 2 == await plain.call(Plain.add)
    (unhandled,) = [each for each in seen if isinstance(each, Unhandled)]
    assert "'what is this'" == unhandled.message


async def test_an_error_inside_on_info_is_a_crash() -> None:
    class Wrong(kb.Actor):
        def on_info(self, message: Any) -> None:
            raise LookupError(message)

    wrong = await kb.start(Wrong)
    wrong.tell("x")

    assert kb.Crashed(LookupError("x")) == await wrong.wait_exit()


# -- who runs ----------------------------------------------------------------------------------------------


class Who(kb.Actor):
    """Says who the current process is."""

    @kb.message
    def plain(self) -> tuple[bool, bool]:
        return kb.me() == self.me, kb.info(self.me).state == "running"

    @kb.message
    async def before_and_after(self, other: kb.ActorRef[Who], inline: bool) -> list[bool]:
        answers = [kb.me() == self.me]
        if not inline:
            this_node().inline_left = 0
        answers += await other.call(Who.plain)
        answers.append(kb.me() == self.me)
        await asyncio.sleep(0)
        answers.append(kb.me() == self.me)
        return answers


@pytest.mark.parametrize("inline", [True, False])
async def test_the_current_process_is_the_one_whose_handler_runs(inline: bool) -> None:
    one, two = await kb.start(Who), await kb.start(Who)

    assert [True] * 5 == await one.call(Who.before_and_after, two, inline)


async def test_plain_code_has_no_current_process_also_after_a_call() -> None:
    who = await kb.start(Who)
    assert (True, True) == await who.call(Who.plain)

    with pytest.raises(kb.NotInProcess, match="current process"):
        kb.me()


async def test_an_actor_without_a_runtime_is_an_ordinary_object() -> None:
    log = Log()
    log.put(1)
    await log.put_slowly(2)

    assert [1, ("begin", 2), ("end", 2)] == log.read()
    with pytest.raises(kb.NotInProcess, match="was not started by a runtime"):
        log.stop()
