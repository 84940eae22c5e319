"""Group restarts: one_for_all, rest_for_one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kernel.tree_actors import (
    Failing,
    Log,
    Member,
    child_info,
    crash,
    end,
    member,
    slow,
    statuses,
    stubborn,
)
from tests.virtual import run_virtual

import koboshi as kb


async def test_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() -> None:
    log = Log()
    async with kb.Supervisor(*(member(log, name) for name in "abcd"), strategy="one_for_all") as tree:
        log.clear()
        await crash(tree, "b")

        assert log == [
            "stop b Crashed",
            *(f"stop {name} Shutdown" for name in "dca"),
            *(f"start {name}" for name in "abcd"),
        ]


async def test_rest_for_one_takes_only_those_started_later() -> None:
    log = Log()
    async with kb.Supervisor(*(member(log, name) for name in "abcd"), strategy="rest_for_one") as tree:
        before = {info.id: info.ref for info in await tree.which_children()}
        log.clear()
        await crash(tree, "b")
        after = {info.id: info.ref for info in await tree.which_children()}

        assert [
            "stop b Crashed",
            "stop d Shutdown",
            "stop c Shutdown",
            "start b",
            "start c",
            "start d",
        ] == log
    assert ["a"] == [id for id in before if before[id] == after[id]]


def test_each_survivor_is_stopped_with_its_own_shutdown() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(
            member(log, "a"),
            stubborn(log, "b", 90.0, shutdown=2.0),
            stubborn(log, "c", 7.0, shutdown="forever"),
            strategy="one_for_all",
        ) as tree:
            began = loop.time()
            await crash(tree, "a")
            took = loop.time() - began
        return took

    assert pytest.approx(9.0, abs=0.11) == run_virtual(main)


async def test_a_group_restart_counts_once_however_many_it_touches() -> None:
    log = Log()
    async with kb.Supervisor(
        *(member(log, name) for name in "abcdef"), strategy="one_for_all", max_restarts=2, within=1000.0
    ) as tree:
        await crash(tree, "a", 2)

        assert 12 == (await tree.statistics()).restarts
    assert 3 == log.count("start f")


async def test_members_that_were_idle_are_revived_and_temporary_ones_are_gone_for_good() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"),
        member(log, "ended", restart="transient"),
        member(log, "stopped"),
        member(log, "temporary", restart="temporary"),
        strategy="one_for_all",
    ) as tree:
        await end(tree, "ended", kb.Normal())
        await tree.terminate_child("stopped")
        await crash(tree, "a")

        assert {"a": "running", "ended": "running", "stopped": "running"} == await statuses(tree)
    assert 1 == log.count("start temporary")
    assert "stop temporary Shutdown" in log


async def test_one_for_all_stops_the_restarted_ones_again_when_a_later_one_fails_to_start() -> None:
    log = Log()
    fail = Failing(None, True)
    async with kb.Supervisor(
        member(log, "a"), member(log, "b", fail), member(log, "c"), strategy="one_for_all"
    ) as tree:
        log.clear()
        await crash(tree, "c")
        await tree.wait_ready()

        assert log == [
            *("stop c Crashed", "stop b Shutdown", "stop a Shutdown"),
            *("start a", "fail b", "stop a Shutdown"),
            *("start a", "start b", "start c"),
        ]
        assert 2 == len(tree._history)


async def test_rest_for_one_keeps_the_restarted_ones_and_retries_from_the_failing_one_on() -> None:
    log = Log()
    fail = Failing(None, True)
    async with kb.Supervisor(
        member(log, "a"), member(log, "b", fail), member(log, "c"), strategy="rest_for_one"
    ) as tree:
        log.clear()
        await crash(tree, "a")
        await tree.wait_ready()

        assert log == [
            *("stop a Crashed", "stop c Shutdown", "stop b Shutdown"),
            *("start a", "fail b", "start b", "start c"),
        ]


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_group_whose_member_never_starts_gives_up_and_leaves_nobody(strategy: Any) -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp, match="'b'"):
        async with kb.Supervisor(
            member(log, "a"),
            member(log, "b", Failing(None, *[True] * 99)),
            member(log, "c"),
            strategy=strategy,
        ) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()

    assert 3 == log.count("fail b")
    assert log.count("start a") == sum(line.startswith("stop a") for line in log)
    assert 1 == log.count("start c")


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_an_ignored_member_of_a_group_stays_down_and_the_rest_goes_on(strategy: Any) -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"), member(log, "b", Failing(None, kb.IGNORE)), member(log, "c"), strategy=strategy
    ) as tree:
        await crash(tree, "a")

        assert {"a": "running", "b": "stopped", "c": "running"} == await statuses(tree)


async def test_several_members_that_die_at_once_cost_one_group_restart_each_at_most_once() -> None:
    log = Log()
    async with kb.Supervisor(
        *(member(log, name) for name in "abc"), strategy="one_for_all", max_restarts=1, within=1000.0
    ) as tree:
        pids = [info.ref for info in await tree.which_children()]
        for name in "abc":
            tree.ref(Member, name).cast(Member.crash)
        for pid in pids:
            assert pid is not None
            await pid.wait_exit()
        await tree.wait_ready()

        assert {"a": "running", "b": "running", "c": "running"} == await statuses(tree)
        assert 1 == len(tree._history)


async def test_a_bare_process_takes_part_in_a_group_restart() -> None:
    log = Log()

    async def body() -> None:
        log.append("start p")
        try:
            await kb.receive()
        finally:
            log.append("stop p")

    async with kb.Supervisor(
        member(log, "a"), kb.child(body).options(id="p"), member(log, "c"), strategy="one_for_all"
    ) as tree:
        await crash(tree, "a")
        pid = (await child_info(tree, "a")).ref
        assert pid is not None
        tree.ref(kb.Process, "p").tell("go on to your end")
        await pid.wait_exit()  # felled by the end of the permanent process
        await tree.wait_ready()

    assert 3 == log.count("start p")
    assert 3 == log.count("start c")


def test_a_group_restart_that_waits_holds_its_members_down_meanwhile() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(
            *(member(log, name) for name in "abc"), strategy="rest_for_one", backoff=(2.0, 8.0)
        ) as tree:
            await crash(tree, "b")
            assert {"a": "running", "b": "backing_off", "c": "restarting"} == await statuses(tree)
            await asyncio.sleep(1.99)
            assert {"a": "running", "b": "backing_off", "c": "restarting"} == await statuses(tree)
            await asyncio.sleep(0.02)
            assert {"a": "running", "b": "running", "c": "running"} == await statuses(tree)

    run_virtual(main)


def test_terminating_the_member_that_a_group_waits_for_lets_the_others_go_on() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(
            *(member(log, name) for name in "abc"), strategy="rest_for_one", backoff=(2.0, 8.0)
        ) as tree:
            await crash(tree, "b")
            await tree.terminate_child("b")
            assert {"a": "running", "b": "stopped", "c": "running"} == await statuses(tree)
            await asyncio.sleep(10.0)
            assert {"a": "running", "b": "stopped", "c": "running"} == await statuses(tree)

    run_virtual(main)


def test_an_earlier_crash_takes_over_a_group_that_waits() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(
            member(log, "a", backoff=(0.0, 0.0)),
            member(log, "b", backoff=(50.0, 50.0)),
            member(log, "c"),
            strategy="rest_for_one",
        ) as tree:
            await crash(tree, "b")
            await crash(tree, "a")
            assert {"a": "running", "b": "running", "c": "running"} == await statuses(tree)
            log.clear()
            await asyncio.sleep(100.0)
            assert [] == log

    run_virtual(main)


def test_a_parked_member_leaves_the_rest_of_its_group_running() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(
            member(log, "a", Failing(None, *[True] * 99), on_give_up="park"),
            member(log, "b"),
            strategy="one_for_all",
        ) as tree:
            await crash(tree, "a")
            await tree.wait_ready()
            assert {"a": "parked", "b": "running"} == await statuses(tree)

    run_virtual(main)


async def test_the_parents_stop_in_the_middle_of_a_group_restart_stops_everything() -> None:
    log = Log()
    gate = asyncio.Event()
    gate.set()
    inner = kb.Supervisor(member(log, "a"), slow(log, "b", gate), member(log, "c"), strategy="one_for_all")
    async with kb.Supervisor(inner) as tree:
        sub = tree.ref(kb.Supervisor, "Supervisor")
        a = await sub.call(kb.Supervisor.child, "a")
        pid = (await sub.call(kb.Supervisor.which_children))[-1].ref
        assert pid is not None
        gate.clear()
        log.clear()
        a.cast(Member.crash)
        await log.until(lambda found: "begin b" in found)
        stopping = asyncio.ensure_future(tree.terminate_child("Supervisor"))
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(5.0):
            await stopping

        assert {"Supervisor": "stopped"} == await statuses(tree)
    assert ["stop c Shutdown", "stop b Shutdown", "stop a Shutdown"] == log[-3:]
