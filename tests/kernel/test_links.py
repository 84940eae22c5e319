"""Links: an abnormal end is passed on, a normal one is not, and whoever traps exits hears of each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import koboshi as kb


async def obey() -> None:
    """Run functions that are told to this process, inside of it, until one raises."""
    while True:
        job = await kb.receive()
        job()


async def ends_with(reason: object) -> None:
    """A process that ends for `reason` once it is told to go."""
    await kb.receive(str)
    raise kb.Stop(reason)


async def inside(process: kb.ActorRef[Any], job: Callable[[], None]) -> None:
    """Have a process that obeys do the job, and wait until it has."""
    done = asyncio.Event()

    def both() -> None:
        job()
        done.set()

    process.tell(both)
    async with asyncio.timeout(5):
        await done.wait()


async def watching(target: kb.ActorRef[Any]) -> tuple[kb.ActorRef[Any], list[Any]]:
    """A process that traps exits, is linked to the target and keeps the first message that it gets."""
    linked, seen = asyncio.Event(), []

    async def watch() -> None:
        kb.trap_exits()
        kb.link(target)
        linked.set()
        seen.append(await kb.receive())

    watcher = kb.spawn(watch)
    async with asyncio.timeout(5):
        await linked.wait()
    return watcher, seen


async def linked_pair(reason: object) -> tuple[kb.ActorRef[Any], kb.ActorRef[Any]]:
    """A process that will end for `reason`, and another that is linked to it and does not trap."""
    failing, peer = kb.spawn(ends_with, reason), kb.spawn(obey)
    await inside(peer, lambda: kb.link(failing))
    return failing, peer


ABNORMAL = [
    kb.Exited("broken"),
    kb.Shutdown(),
    kb.Shutdown("why"),
    kb.Kill(),
    kb.Killed("oom"),
    kb.Crashed(KeyError(1)),
]


@pytest.mark.parametrize("reason", ABNORMAL, ids=repr)
async def test_an_abnormal_end_ends_a_linked_process_with_the_same_reason(reason: kb.ExitReason) -> None:
    failing, peer = await linked_pair(reason)
    failing.tell("go")

    assert await failing.wait_exit(2) == reason
    assert await peer.wait_exit(2) == reason


async def test_a_normal_end_does_not_touch_a_linked_process() -> None:
    failing, peer = await linked_pair(kb.Normal())
    failing.tell("go")

    assert await failing.wait_exit(2) == kb.Normal()
    done: list[int] = []
    peer.tell(lambda: done.append(kb.info(kb.me()).links))
    peer.tell(lambda: kb.me().exit("over"))
    assert await peer.wait_exit(2) == kb.Exited("over")
    assert done == [0]  # the link is gone with its other end


@pytest.mark.parametrize("reason", [kb.Normal(), *ABNORMAL], ids=repr)
async def test_a_trapping_process_gets_every_end_as_a_message(reason: kb.ExitReason) -> None:
    failing = kb.spawn(ends_with, reason)
    watcher, seen = await watching(failing)
    failing.tell("go")

    assert await watcher.wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(failing, reason)]


async def test_a_process_felled_by_kill_is_seen_as_killed_over_its_links() -> None:
    victim, peer = await linked_pair(kb.Normal())
    watcher, seen = await watching(victim)
    victim.kill()

    assert await peer.wait_exit(2) == kb.Killed()
    assert await watcher.wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(victim, kb.Killed())]


async def test_kill_as_ones_own_reason_is_passed_on_as_kill_and_can_be_trapped() -> None:
    failing, peer = await linked_pair(kb.Kill())
    watcher, seen = await watching(failing)
    failing.tell("go")

    assert await peer.wait_exit(2) == kb.Kill()
    assert await watcher.wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(failing, kb.Kill())]


async def test_linking_to_a_dead_process_raises_when_not_trapping_and_the_process_lives_on() -> None:
    dead = kb.spawn(ends_with, kb.Normal())
    dead.tell("go")
    await dead.wait_exit(2)
    errors: list[kb.ActorExited] = []

    async def caller() -> str:
        try:
            kb.link(dead)
        except kb.ActorExited as error:
            errors.append(error)
        return "alive"

    ref = kb.spawn(caller)

    assert await ref.wait_exit(2) == kb.Normal()
    assert [kb.NoProc()] == [error.reason for error in errors]


async def test_linking_to_a_dead_process_is_an_exit_message_when_trapping() -> None:
    dead = kb.spawn(ends_with, kb.Normal())
    dead.tell("go")
    await dead.wait_exit(2)
    seen: list[Any] = []

    async def caller() -> None:
        kb.trap_exits()
        kb.link(dead)
        seen.append(await kb.receive(timeout=0))

    await kb.spawn(caller).wait_exit(2)

    assert seen == [kb.Exit(dead, kb.NoProc())]


async def test_linking_twice_is_the_same_as_once() -> None:
    seen: list[Any] = []
    failing = kb.spawn(ends_with, kb.Exited("x"))

    async def watch() -> None:
        kb.trap_exits()
        kb.link(failing)
        kb.link(failing)
        assert kb.info(kb.me()).links == 1
        failing.tell("go")
        seen.append(await kb.receive(kb.Exit))
        seen.append(await kb.receive(timeout=0))

    assert await kb.spawn(watch).wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(failing, kb.Exited("x")), kb.Timeout()]


async def test_one_unlink_undoes_two_links() -> None:
    failing, peer = await linked_pair(kb.Exited("x"))
    await inside(peer, lambda: kb.link(failing))
    await inside(peer, lambda: kb.unlink(failing))
    failing.tell("go")

    assert await failing.wait_exit(2) == kb.Exited("x")
    peer.tell(lambda: kb.me().exit("on its own"))
    assert await peer.wait_exit(2) == kb.Exited("on its own")


async def test_linking_to_oneself_is_allowed_and_does_nothing() -> None:
    async def alone() -> None:
        kb.link(kb.me())
        assert kb.info(kb.me()).links == 0

    assert await kb.spawn(alone).wait_exit(2) == kb.Normal()


async def test_unlink_from_either_side_unties_both() -> None:
    failing = kb.spawn(obey)
    peer = kb.spawn(obey)
    await inside(peer, lambda: kb.link(failing))
    await inside(failing, lambda: kb.unlink(peer))
    failing.tell(lambda: kb.me().exit("x"))

    assert await failing.wait_exit(2) == kb.Exited("x")
    peer.tell(lambda: kb.me().exit("later"))
    assert await peer.wait_exit(2) == kb.Exited("later")


async def test_an_exit_that_is_queued_already_stays_after_unlink() -> None:
    seen: list[Any] = []
    failing = kb.spawn(ends_with, kb.Exited("x"))

    async def watch() -> None:
        kb.trap_exits()
        kb.link(failing)
        failing.tell("go")
        await failing.wait_exit(2)
        kb.unlink(failing)
        seen.append(await kb.receive(timeout=0))

    assert await kb.spawn(watch).wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(failing, kb.Exited("x"))]


async def test_no_exit_of_a_link_comes_after_unlink() -> None:
    seen: list[Any] = []
    failing = kb.spawn(ends_with, kb.Exited("x"))

    async def watch() -> None:
        kb.trap_exits()
        kb.link(failing)
        kb.unlink(failing)
        failing.tell("go")
        await failing.wait_exit(2)
        seen.append(await kb.receive(timeout=0))

    assert await kb.spawn(watch).wait_exit(2) == kb.Normal()
    assert seen == [kb.Timeout()]


async def test_an_end_runs_through_a_chain_of_links_and_stops_at_one_that_traps() -> None:
    refs = [kb.spawn(obey) for _ in range(50)]
    for left, right in itertools.pairwise(refs):
        await inside(left, partial(kb.link, right))
    watcher, seen = await watching(refs[-1])
    beyond = kb.spawn(obey)
    await inside(beyond, lambda: kb.link(watcher))
    refs[0].tell(lambda: kb.me().exit("burnt"))

    assert await watcher.wait_exit(2) == kb.Normal()
    assert seen == [kb.Exit(refs[-1], kb.Exited("burnt"))]
    assert {kb.Exited("burnt")} == {await ref.wait_exit(2) for ref in refs}
    assert beyond.alive
    beyond.kill()
    await beyond.wait_exit(2)


async def test_a_ring_of_links_ends_once_and_completely() -> None:
    refs = [kb.spawn(obey) for _ in range(20)]
    for left, right in zip(refs, [*refs[1:], refs[0]], strict=True):
        await inside(left, partial(kb.link, right))
    refs[7].tell(lambda: kb.me().exit("x"))

    assert [kb.Exited("x")] * 20 == [await ref.wait_exit(2) for ref in refs]


async def test_spawn_link_ties_from_the_first_moment() -> None:
    seen: list[Any] = []

    async def dies_at_once() -> None:
        raise kb.Stop("early")

    async def parent() -> None:
        kb.trap_exits()
        child = kb.spawn_link(dies_at_once)
        seen.extend([child, await kb.receive(kb.Exit, timeout=2)])

    assert await kb.spawn(parent).wait_exit(2) == kb.Normal()
    assert seen[1] == kb.Exit(seen[0], kb.Exited("early"))


async def test_an_actor_that_traps_gets_exits_in_on_exit() -> None:
    class Watcher(kb.Actor):
        def __init__(self) -> None:
            self.trap_exits()
            self.seen: list[kb.Exit] = []

        @kb.message
        def watch(self, other: kb.ActorRef[Any]) -> None:
            kb.link(other)

        def on_exit(self, exit: kb.Exit) -> None:
            self.seen.append(exit)

        @kb.message
        def history(self) -> list[kb.Exit]:
            return list(self.seen)

    failing = kb.spawn(ends_with, kb.Exited("x"))
    watcher = await kb.start(Watcher)
    await watcher.call(Watcher.watch, failing)
    failing.tell("go")
    await failing.wait_exit(2)

    assert await watcher.call(Watcher.history) == [kb.Exit(failing, kb.Exited("x"))]
    await watcher.stop()


async def test_trapping_can_be_switched_off_again() -> None:
    ready = asyncio.Event()

    async def changes() -> None:
        kb.trap_exits()
        kb.trap_exits(False)
        ready.set()
        await kb.receive()

    ref = kb.spawn(changes)
    await ready.wait()
    ref.exit("now it dies")

    assert await ref.wait_exit(2) == kb.Exited("now it dies")
