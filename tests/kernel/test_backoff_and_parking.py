"""Waits before restarts, budgets of single children, and children that are parked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kernel.tree_actors import Failing, Log, Member, child_info, crash, member, statuses
from tests.virtual import run_virtual

import koboshi as kb


async def wait_for_restart(tree: kb.Supervisor) -> float:
    """Seconds until everything is up again."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await tree.wait_ready()
    return loop.time() - began


@pytest.mark.parametrize("whose", ["child", "supervisor"])
def test_each_failure_in_a_row_waits_longer_up_to_the_maximum(whose: str) -> None:
    log = Log()
    waits: list[float] = []

    async def main() -> None:
        own: Any = {"backoff": (1.0, 5.0)} if whose == "child" else {}
        options: Any = {} if whose == "child" else {"backoff": (1.0, 5.0)}
        async with kb.Supervisor(member(log, "a", **own), max_restarts=99, **options) as tree:
            for _ in range(5):
                await crash(tree, "a")
                assert {"a": "backing_off"} == await statuses(tree)
                waits.append(await wait_for_restart(tree))

    run_virtual(main)

    assert [1.0, 2.0, 4.0, 5.0, 5.0] == pytest.approx(waits)


def test_a_childs_backoff_goes_before_its_supervisors() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(member(log, "a", backoff=(2.0, 2.0)), backoff=(50.0, 50.0)) as tree:
            await crash(tree, "a")
            assert pytest.approx(2.0) == await wait_for_restart(tree)

    run_virtual(main)


def test_a_child_that_ran_well_for_reset_after_begins_with_the_shortest_wait_again() -> None:
    log = Log()
    waits: list[float] = []

    async def main() -> None:
        spec = member(log, "a", backoff=kb.Backoff(1.0, 64.0, reset_after=10.0))
        async with kb.Supervisor(spec, max_restarts=99) as tree:
            for well in (0.0, 9.9, 10.0, 0.0):
                await asyncio.sleep(well)
                await crash(tree, "a")
                waits.append(await wait_for_restart(tree))

    run_virtual(main)

    assert [1.0, 2.0, 1.0, 2.0] == pytest.approx(waits)


def test_failing_starts_wait_too_and_the_tree_answers_meanwhile() -> None:
    log = Log()

    async def main() -> None:
        spec = member(log, "a", Failing(None, True, True), backoff=(1.0, 50.0))
        async with kb.Supervisor(spec, member(log, "b"), max_restarts=3, within=100.0) as tree:
            await crash(tree, "a")
            await asyncio.sleep(1.5)
            assert {"a": "backing_off", "b": "running"} == await statuses(tree)
            assert 1 == (await tree.statistics()).restarting
            assert pytest.approx(7.0 - 1.5) == await wait_for_restart(tree)

    run_virtual(main)


def test_a_child_that_waits_can_be_terminated_and_does_not_come_back() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(member(log, "a", backoff=(1.0, 1.0))) as tree:
            await crash(tree, "a")
            with pytest.raises(kb.ChildRestarting):
                await tree.restart_child("a")
            await tree.terminate_child("a")
            await asyncio.sleep(5.0)
            assert {"a": "stopped"} == await statuses(tree)
            await tree.restart_child("a")
            await crash(tree, "a")
            assert {"a": "backing_off"} == await statuses(tree)

    run_virtual(main)

    assert 2 == log.count("start a")


def test_a_tree_that_stops_does_not_wait_for_a_child_that_does() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(member(log, "a", backoff=(60.0, 60.0))) as tree:
            await crash(tree, "a")
            began = loop.time()
        return loop.time() - began

    assert 0.0 == run_virtual(main)


async def test_a_childs_own_budget_trips_before_the_supervisors() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp, match="'a'"):
        async with kb.Supervisor(
            member(log, "a", budget=(1, 1000.0)), member(log, "b"), max_restarts=50, within=1000.0
        ) as tree:
            await crash(tree, "b", 5)
            await crash(tree, "a")
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()


async def test_a_parked_child_stays_down_and_the_rest_goes_on() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", on_give_up="park"), member(log, "b"), within=1000.0) as tree:
        await crash(tree, "a", 4)

        assert {"a": "parked", "b": "running"} == await statuses(tree)
        assert 1 == (await tree.statistics()).parked
        assert "b" == await tree.ref(Member, "b").call(Member.whoami)
        with pytest.raises(kb.NotRunning):
            await tree.ref(Member, "a").call(Member.whoami)
        assert kb.Crashed(ValueError("asked to")) == (await child_info(tree, "a")).last_exit
    assert 4 == log.count("start a")


async def test_what_a_parked_child_spent_is_given_back_to_its_siblings() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", on_give_up="park"), member(log, "b"), within=1000.0) as tree:
        await crash(tree, "a", 4)
        await crash(tree, "b", 3)

        assert {"a": "parked", "b": "running"} == await statuses(tree)


async def test_a_parked_child_can_be_restarted_by_hand_with_a_fresh_budget_or_deleted() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", on_give_up="park", budget=(1, 1000.0))) as tree:
        await crash(tree, "a", 2)
        await tree.restart_child("a")
        assert {"a": "running"} == await statuses(tree)
        await crash(tree, "a")
        assert {"a": "running"} == await statuses(tree)
        await crash(tree, "a")
        assert {"a": "parked"} == await statuses(tree)
        await tree.terminate_child("a")
        assert {"a": "stopped"} == await statuses(tree)
        await tree.delete_child("a")

        assert {} == await statuses(tree)


async def test_a_group_restart_leaves_a_parked_child_parked() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a", on_give_up="park", budget=(0, 1000.0)), member(log, "b"), strategy="one_for_all"
    ) as tree:
        await crash(tree, "a")
        await crash(tree, "b")

        assert {"a": "parked", "b": "running"} == await statuses(tree)


async def test_a_restart_without_backoff_is_still_bounded_by_the_budget() -> None:
    log = Log()
    fail = Failing(None, *[True] * 10_000)
    with pytest.raises(kb.SupervisorGaveUp):
        async with kb.Supervisor(member(log, "a", fail), max_restarts=100, within=1000.0) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()

    assert 101 == fail.calls
