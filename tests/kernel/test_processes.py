"""Bare processes: what they are, how they are started and named, and the program of the first page."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi._kernel._end import gone
from koboshi._kernel._node import this_node
from koboshi._kernel._process import spawn_cell
from koboshi.testing import wait_idle


@dataclass(frozen=True)
class Compute:
    """Asks for a digest."""

    text: str
    reply_to: kb.ReplyTo[str] | kb.Alias


async def hash_it(algorithm: str) -> None:
    seen: dict[str, str] = {}
    while True:
        match await kb.receive(timeout=60.0):
            case Compute(text, reply_to):
                digest = seen.setdefault(text, hashlib.new(algorithm, text.encode()).hexdigest())
                reply_to.send(digest)
            case kb.Timeout():
                return


def test_the_hashing_process_answers_and_ends_after_a_minute_of_silence() -> None:
    async def main() -> tuple[list[str], kb.ExitReason | None, float]:
        loop = asyncio.get_running_loop()
        hasher = kb.spawn(hash_it, "sha256")
        answers = [await hasher.ask(partial(Compute, text)) for text in ("a", "b", "a")]
        began = loop.time()
        return answers, await hasher.wait_exit(), loop.time() - began

    answers, reason, waited = run_virtual(main)

    expected = [hashlib.sha256(text).hexdigest() for text in (b"a", b"b", b"a")]
    assert expected == answers
    assert reason == kb.Normal()
    assert waited == pytest.approx(60.0)


async def test_a_process_asks_another_through_an_alias() -> None:
    hasher = kb.spawn(hash_it, "md5")
    got: list[Any] = []

    async def client() -> None:
        hasher.tell(Compute("x", kb.alias()))
        got.append(await kb.receive(str, timeout=5))

    await kb.spawn(client).wait_exit(5)
    hasher.kill()
    await hasher.wait_exit(5)

    assert got == [hashlib.md5(b"x").hexdigest()]


async def test_a_reply_once_address_takes_one_message_and_vanishes() -> None:
    results: list[Any] = []

    async def body() -> None:
        address = kb.alias()
        results.extend([address.send("first"), address.send("second")])
        results.append(await kb.receive(timeout=0))
        results.append(await kb.receive(timeout=0))

    await kb.spawn(body).wait_exit(5)

    assert results == [True, False, "first", kb.Timeout()]


async def test_a_lasting_alias_takes_many_until_it_is_cancelled() -> None:
    results: list[Any] = []

    async def body() -> None:
        address = kb.alias(once=False)
        results.extend([address.send(1), address.send(2)])
        address.cancel()
        results.append(address.send(3))
        results.extend([await kb.receive(timeout=0) for _ in range(3)])

    await kb.spawn(body).wait_exit(5)

    assert results == [True, True, False, 1, 2, kb.Timeout()]


async def test_an_alias_of_a_dead_process_leads_nowhere() -> None:
    kept: list[kb.Alias] = []

    async def body() -> None:
        kept.append(kb.alias(once=False))

    await kb.spawn(body).wait_exit(5)

    assert kept[0].send("anybody?") is False
    assert "nobody" in repr(kept[0])


async def test_ask_fails_at_once_when_the_process_ends_without_replying() -> None:
    async def body() -> None:
        await kb.receive()
        raise kb.Stop("no answer")

    ref = kb.spawn(body)
    with pytest.raises(kb.ActorExited) as caught:
        await ref.ask(lambda reply_to: reply_to)

    assert caught.value.reason == kb.Exited("no answer")
    with pytest.raises(kb.NotRunning):
        await ref.ask(lambda reply_to: reply_to)


def test_ask_gives_up_at_its_deadline_and_a_late_reply_goes_nowhere() -> None:
    async def main() -> list[Any]:
        kept: list[kb.ReplyTo[int]] = []

        async def body() -> None:
            kept.append(await kb.receive())
            await kb.receive()

        loop = asyncio.get_running_loop()
        ref, began = kb.spawn(body), loop.time()
        with pytest.raises(kb.CallTimeout):
            await ref.within(2.0).ask(lambda reply_to: reply_to)
        waited = loop.time() - began
        ref.kill()
        await ref.wait_exit()
        return [kept[0].send(1), waited]

    assert run_virtual(main) == [False, pytest.approx(2.0)]


async def test_messages_told_before_the_first_turn_are_received_in_order() -> None:
    got: list[int] = []

    async def body() -> None:
        got.extend([await kb.receive(int) for _ in range(1000)])

    ref = kb.spawn(body)
    for number in range(1000):
        ref.tell(number)

    assert await ref.wait_exit(5) == kb.Normal()
    assert got == list(range(1000))


async def test_arguments_and_context_reach_the_function() -> None:
    got: list[Any] = []

    async def body(*args: Any, **kwargs: Any) -> None:
        got.extend([args, kwargs, kb.correlation_id.get()])

    token = kb.correlation_id.set("request 7")
    ref = kb.spawn(body, 1, two=2)
    kb.correlation_id.reset(token)
    await ref.wait_exit(5)

    assert got == [(1,), {"two": 2}, "request 7"]


async def test_spawning_a_plain_function_is_refused_by_name() -> None:
    def plain() -> None: ...

    with pytest.raises(kb.UsageError, match="async def") as caught:
        kb.spawn(plain)  # type: ignore[arg-type]
    assert "plain" in str(caught.value)


async def test_what_needs_a_process_says_so_outside_of_one() -> None:
    for act in (kb.me, kb.trap_exits, kb.alias, lambda: kb.register("x")):
        with pytest.raises(kb.NotInProcess):
            act()
    with pytest.raises(kb.NotInProcess):
        await kb.receive(timeout=0)


async def test_a_name_is_held_until_its_process_ends_or_gives_it_up() -> None:
    async def waits() -> None:
        await kb.receive()

    one, two = kb.spawn(waits), kb.spawn(waits)
    for name in ("plain", ("a", 1), 3.5):
        kb.register(name, one)
        assert kb.whereis(name) == one
        with pytest.raises(kb.NameTaken) as caught:
            kb.register(name, two)
        assert caught.value.owner == one
    assert set(kb.info(one).names) == {"plain", ("a", 1), 3.5}
    kb.register("plain", one)  # one's own name again is no clash
    assert kb.unregister("plain") is True
    assert kb.unregister("plain") is False
    kb.register("plain", two)
    one.kill()
    await one.wait_exit(5)

    assert [kb.whereis(name) for name in (("a", 1), 3.5)] == [None, None]
    assert kb.whereis("plain") == two
    two.kill()
    await two.wait_exit(5)


async def test_telling_a_name_that_nobody_holds_raises_and_a_dead_process_swallows() -> None:
    async def ends() -> None: ...

    ref = kb.spawn(ends)
    await ref.wait_exit(5)
    ref.tell("lost")

    with pytest.raises(kb.NotRunning):
        kb.named("nobody").tell("lost")


async def test_a_dead_process_cannot_be_given_a_name() -> None:
    async def ends() -> None: ...

    ref = kb.spawn(ends)
    await ref.wait_exit(5)
    with pytest.raises(kb.ActorExited):
        kb.register("too late", ref)

    assert kb.whereis("too late") is None


async def test_a_name_that_cannot_be_hashed_is_refused() -> None:
    async def waits() -> None:
        await kb.receive()

    ref = kb.spawn(waits)
    with pytest.raises(kb.UsageError, match="hashable"):
        kb.register(["a"], ref)
    ref.kill()
    await ref.wait_exit(5)


async def test_a_process_is_listed_while_it_lives_with_its_parents() -> None:
    inner: list[kb.ActorRef[Any]] = []

    async def child() -> None:
        await kb.receive()

    async def parent() -> None:
        inner.append(kb.spawn(child))
        await kb.receive()

    ref = kb.spawn(parent)
    await wait_idle()
    shown = kb.info(inner[0])

    assert shown.ancestors == (kb.info(ref).label,)
    assert shown.state == "waiting"
    assert {ref, inner[0]} <= {each.ref for each in kb.processes()}
    for each in (ref, inner[0]):
        each.kill()
        assert await each.wait_exit(5) == kb.Killed()
    assert not {ref, inner[0]} & {each.ref for each in kb.processes()}


async def test_a_process_that_only_runs_another_function_is_named_after_that_one() -> None:
    async def work() -> None:
        raise ValueError("boom")

    async def around() -> None:
        await work()

    reports: list[kb.events.Event] = []
    stop = kb.listen(reports.append)
    cell = spawn_cell(this_node(), around, (), {}, None, shown=work)
    await gone(cell)
    await asyncio.sleep(0)
    stop()
    [report] = [each for each in reports if isinstance(each, kb.events.CrashReport)]

    assert report.process.endswith(f"work#{cell.id}")
    assert report.message.endswith("work")
