"""Supervisors that end when their significant children have done their work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kernel.tree_actors import Log, Member, crash, end, member, statuses

import koboshi as kb


async def body_of(tree: kb.Supervisor) -> None:
    """Wait until the tree ends the body."""
    await asyncio.Event().wait()


async def test_any_significant_the_first_end_stops_everything_in_reverse_and_ends_the_body() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"),
        member(log, "b", significant=True, restart="transient"),
        member(log, "c", significant=True, restart="transient"),
        auto_shutdown="any_significant",
    ) as tree:
        log.clear()
        tree.ref(Member, "b").cast(Member.end, kb.Normal())
        await body_of(tree)

    assert ["stop b Normal", "stop c Shutdown", "stop a Shutdown"] == log
    assert kb.Shutdown() == tree._exit_reason


async def test_all_significant_waits_for_the_last_one() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"),
        member(log, "b", significant=True, restart="transient"),
        member(log, "c", significant=True, restart="temporary"),
        auto_shutdown="all_significant",
    ) as tree:
        await end(tree, "b", kb.Normal())
        assert "running" == (await statuses(tree))["a"]
        tree.ref(Member, "c").cast(Member.crash)
        await body_of(tree)

    assert kb.Shutdown() == tree._exit_reason


async def test_a_significant_child_that_is_being_restarted_still_counts_as_active() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a", significant=True, restart="transient", backoff=(60.0, 60.0)),
        member(log, "b", significant=True, restart="transient"),
        auto_shutdown="all_significant",
    ) as tree:
        await crash(tree, "a")
        await end(tree, "b", kb.Normal())

        assert {"a": "backing_off", "b": "stopped"} == await statuses(tree)


async def test_a_crashing_transient_child_is_restarted_and_shuts_nothing_down() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a", significant=True, restart="transient"), auto_shutdown="any_significant"
    ) as tree:
        await crash(tree, "a")

        assert {"a": "running"} == await statuses(tree)


async def test_a_temporary_significant_child_shuts_down_even_by_a_crash() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a", significant=True, restart="temporary"), auto_shutdown="any_significant"
    ) as tree:
        tree.ref(Member, "a").cast(Member.crash)
        await body_of(tree)

    assert kb.Shutdown() == tree._exit_reason


async def test_terminate_child_and_a_siblings_group_restart_do_not_fire() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"),
        member(log, "b", significant=True, restart="transient"),
        member(log, "c", significant=True, restart="temporary"),
        strategy="one_for_all",
        auto_shutdown="any_significant",
    ) as tree:
        await crash(tree, "a")
        assert {"a": "running", "b": "running"} == await statuses(tree)
        await tree.terminate_child("b")

        assert {"a": "running", "b": "stopped"} == await statuses(tree)


@pytest.mark.parametrize("mode", ["never", "any_significant"])
def test_what_cannot_work_is_refused(mode: Any) -> None:
    log = Log()
    with pytest.raises(kb.UsageError, match="permanent"):
        member(log, "a", significant=True)
    if mode == "never":
        with pytest.raises(kb.UsageError, match="auto_shutdown"):
            kb.Supervisor(member(log, "a", significant=True, restart="transient"))


async def test_what_cannot_work_is_refused_at_run_time_too() -> None:
    log = Log()
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.UsageError, match="auto_shutdown"):
            await tree.start_child(member(log, "a", significant=True, restart="temporary"))

        assert {} == await statuses(tree)


async def test_a_significant_transient_supervisor_that_shuts_itself_down_takes_its_parent_along() -> None:
    log = Log()
    inner = kb.child(
        kb.Supervisor,
        member(log, "b", significant=True, restart="transient"),
        auto_shutdown="any_significant",
    ).options(id="inner", significant=True, restart="transient")
    async with kb.Supervisor(member(log, "a"), inner, auto_shutdown="any_significant") as tree:
        sub = tree.ref(kb.Supervisor, "inner")
        (await sub.call(kb.Supervisor.child, "b")).cast(Member.end, kb.Normal())
        await body_of(tree)

    assert ["start a", "start b", "stop b Normal", "stop a Shutdown"] == log


async def test_auto_shutdown_works_on_dynamic_supervisors_too() -> None:
    log = Log()
    async with kb.DynamicSupervisor(auto_shutdown="all_significant") as tree:
        refs = [await tree.start_child(member(log, n, significant=True, restart="temporary")) for n in "ab"]
        await tree.start_child(member(log, "c"))
        refs[0].cast(Member.crash)
        await refs[0].wait_exit()
        assert 2 == (await tree.count_children()).active
        refs[1].cast(Member.end, kb.Normal())
        await body_of(tree)

    assert "stop c Shutdown" == log[-1]
