"""Resources of a cell: what an upper layer has held by a process is released before its end is seen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel import _bonds
from koboshi._kernel._cell import Cell
from koboshi._kernel._node import this_node


class Lease:
    """A resource that counts its releases, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.released: list[Cell] = []
        self.error = error

    def owner_ended(self, cell: Cell) -> None:
        self.released.append(cell)
        if self.error is not None:
            raise self.error


class Holder(kb.Actor):
    """Holds what it is given, from its start on."""

    def __init__(self, *leases: Lease, fails: bool = False) -> None:
        for lease in leases:
            _bonds.hold(self._kb_running(), lease)
        if fails:
            raise ValueError("no start")

    @kb.message
    def let_go(self, lease: Lease) -> None:
        _bonds.let_go(self._kb_running(), lease)


class Watcher(kb.Actor):
    """Notes how often a lease has been released when it hears of its holder's end."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.seen: list[tuple[str, int]] = []
        self.heard = asyncio.Event()
        self.trap_exits()

    @kb.message
    def tie(self, ref: kb.ActorRef[Any]) -> None:
        kb.link(ref)
        kb.monitor(ref)

    def on_exit(self, exit: kb.Exit) -> None:
        self.seen.append(("exit", len(self.lease.released)))

    def on_down(self, down: kb.Down) -> None:
        self.seen.append(("down", len(self.lease.released)))
        self.heard.set()


@pytest.mark.parametrize("how", [kb.Kill(), kb.Shutdown()])
async def test_a_resource_is_released_once_before_links_and_monitors_hear_of_the_end(
    how: kb.ExitReason,
) -> None:
    lease = Lease()
    holder = await kb.start(Holder, lease)
    watcher = await kb.start(Watcher, lease)
    await watcher.call(Watcher.tie, holder)
    state = watcher._target().actor

    holder.exit(how)
    await state.heard.wait()

    assert [("exit", 1), ("down", 1)] == state.seen
    assert [holder._target()] == lease.released


async def test_a_start_that_fails_releases_what_it_held_before_its_caller_hears() -> None:
    lease = Lease()

    with pytest.raises(kb.StartError):
        await kb.start(Holder, lease, fails=True)
    assert 1 == len(lease.released)


async def test_what_was_let_go_is_not_told() -> None:
    kept, given = Lease(), Lease()
    holder = await kb.start(Holder, kept, given)
    await holder.call(Holder.let_go, given)
    await holder.stop()

    assert (1, 0) == (len(kept.released), len(given.released))


async def test_a_resource_that_fails_is_reported_and_the_end_is_seen_all_the_same() -> None:
    reported: list[Any] = []
    this_node().loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    error = ValueError("broken")
    broken, sound = Lease(error), Lease()
    holder = await kb.start(Holder, broken, sound)
    await holder.stop()

    assert [error] == reported
    assert 1 == len(sound.released)
    assert isinstance(await holder.wait_exit(), kb.Normal)


async def test_a_process_that_has_ended_can_hold_nothing() -> None:
    holder = await kb.start(Holder)
    await holder.stop()

    with pytest.raises(kb.ActorExited):
        _bonds.hold(holder._target(), Lease())
