"""Restarts of single children, and the budget that they spend from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kernel.tree_actors import Failing, Log, Member, child_info, crash, end, member, slow, statuses
from tests.virtual import run_virtual

import koboshi as kb

ENDS = [kb.Normal(), kb.Shutdown(), kb.Shutdown("detail"), kb.Exited("x"), kb.Crashed(KeyError("k"))]


@pytest.mark.parametrize("reason", ENDS, ids=repr)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
async def test_a_child_is_restarted_as_its_kind_and_its_reason_say(
    restart: Any, reason: kb.ExitReason
) -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", restart=restart), member(log, "b")) as tree:
        await end(tree, "a", reason)
        found = await statuses(tree)

    again = restart == "permanent" or (restart == "transient" and not reason.clean)
    assert 1 + again == log.count("start a")
    assert {"permanent": "running", "transient": "running" if again else "stopped"}.get(restart) == found.get(
        "a"
    )


async def test_a_killed_transient_child_is_restarted() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", restart="transient")) as tree:
        pid = (await child_info(tree, "a")).ref
        assert pid is not None
        pid.kill()
        await pid.wait_exit()
        await tree.wait_ready()

    assert 2 == log.count("start a")


async def test_a_restart_of_one_for_one_touches_no_sibling() -> None:
    log = Log()
    async with kb.Supervisor(*(member(log, name) for name in "abc")) as tree:
        before = {info.id: info.ref for info in await tree.which_children()}
        await crash(tree, "b")
        after = {info.id: info.ref for info in await tree.which_children()}

    assert before["a"] == after["a"]
    assert before["c"] == after["c"]
    assert before["b"] != after["b"]


async def test_a_restarted_child_begins_with_an_empty_mailbox_and_its_first_state() -> None:
    log = Log()

    class Counter(Member):
        count = 0

        @kb.message
        def add(self) -> int:
            self.count += 1
            return self.count

    async with kb.Supervisor(kb.child(Counter, log, "a").options(id="a")) as tree:
        ref = tree.ref(Counter, "a")
        assert 1 == await ref.call(Counter.add)
        ref.cast(Member.crash)
        for _ in range(5):
            ref.cast(Counter.add)
        pid = (await child_info(tree, "a")).ref
        assert pid is not None
        await pid.wait_exit()
        await tree.wait_ready()

        assert 1 == await ref.call(Counter.add)


@pytest.mark.parametrize("allowed", [0, 1, 3])
async def test_death_number_intensity_plus_one_inside_the_window_trips_the_budget(allowed: int) -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp, match="'a'") as caught:
        async with kb.Supervisor(member(log, "a"), max_restarts=allowed, within=1000.0) as tree:
            await crash(tree, "a", allowed)
            assert {"a": "running"} == await statuses(tree)
            tree.ref(Member, "a").cast(Member.crash, "the last")
            await asyncio.Event().wait()

    assert kb.Shutdown(kb.GaveUp("a", kb.Crashed(ValueError("the last")))) == caught.value.reason
    assert isinstance(caught.value.__cause__, ValueError)
    assert 1 + allowed == log.count("start a")


async def test_the_budget_is_the_supervisors_and_not_each_childs() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp, match="'d'"):
        async with kb.Supervisor(*(member(log, name) for name in "abcd"), within=1000.0) as tree:
            for name in "abc":
                await crash(tree, name)
            tree.ref(Member, "d").cast(Member.crash)
            await asyncio.Event().wait()


async def test_giving_up_stops_the_children_in_reverse_order() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp):
        async with kb.Supervisor(*(member(log, name) for name in "abc"), max_restarts=0) as tree:
            log.clear()
            tree.ref(Member, "b").cast(Member.crash)
            await asyncio.Event().wait()

    assert ["stop b Crashed", "stop c Shutdown", "stop a Shutdown"] == log


def test_the_window_slides_so_a_crash_now_and_then_never_trips() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(member(log, "a"), max_restarts=1, within=1.0) as tree:
            for _ in range(20):
                await crash(tree, "a")
                await asyncio.sleep(1.001)

    run_virtual(main)

    assert 21 == log.count("start a")


def test_a_restart_exactly_as_old_as_the_window_still_counts() -> None:
    log = Log()

    async def main() -> None:
        async with kb.Supervisor(member(log, "a"), max_restarts=1, within=1.0) as tree:
            await crash(tree, "a")
            await asyncio.sleep(1.0)
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()

    with pytest.raises(kb.SupervisorGaveUp):
        run_virtual(main)


async def test_a_start_that_keeps_failing_is_attempted_exactly_as_often_as_the_budget_says() -> None:
    log = Log()
    fail = Failing(None, *[True] * 100)
    with pytest.raises(kb.SupervisorGaveUp) as caught:
        async with kb.Supervisor(member(log, "a", fail), max_restarts=3, within=1000.0) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()

    assert ["start a", "stop a Crashed", "fail a", "fail a", "fail a"] == log
    assert kb.Shutdown(kb.GaveUp("a", kb.Crashed(RuntimeError("a does not start")))) == caught.value.reason


async def test_what_is_no_failure_spends_nothing() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"),
        member(log, "transient", restart="transient"),
        *(member(log, f"temporary {n}", restart="temporary") for n in range(3)),
        max_restarts=0,
    ) as tree:
        await end(tree, "transient", kb.Normal())
        for n in range(3):
            await crash(tree, f"temporary {n}")
        for _ in range(3):
            await tree.terminate_child("a")
            await tree.restart_child("a")
        await tree.start_child(member(log, "b"))

        assert {"a": "running", "transient": "stopped", "b": "running"} == await statuses(tree)


async def test_an_ignored_restart_leaves_the_child_present_and_down() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", Failing(None, kb.IGNORE)), member(log, "b")) as tree:
        await crash(tree, "a")

        assert {"a": "stopped", "b": "running"} == await statuses(tree)
        await tree.restart_child("a")
        assert {"a": "running", "b": "running"} == await statuses(tree)


async def test_a_slow_restart_does_not_hold_up_the_supervisor() -> None:
    log = Log()
    gate = asyncio.Event()
    gate.set()
    async with kb.Supervisor(slow(log, "a", gate), member(log, "b")) as tree:
        gate.clear()
        await crash(tree, "a")
        assert {"a": "restarting", "b": "running"} == await statuses(tree)
        counts = await tree.count_children()
        await crash(tree, "b")
        assert {"a": "restarting", "b": "running"} == await statuses(tree)
        gate.set()
        await tree.wait_ready()

        assert {"a": "running", "b": "running"} == await statuses(tree)
        assert "a" == await tree.ref(Member, "a").call(Member.whoami)
    assert kb.Counts(specs=2, active=1, supervisors=0, workers=2) == counts


async def test_between_two_attempts_terminate_cancels_the_restart_and_delete_and_restart_are_refused() -> (
    None
):
    log = Log()
    gate = asyncio.Event()
    gate.set()
    async with kb.Supervisor(slow(log, "a", gate), member(log, "b")) as tree:
        gate.clear()
        await crash(tree, "a")
        with pytest.raises(kb.ChildRestarting):
            await tree.delete_child("a")
        with pytest.raises(kb.ChildRestarting):
            await tree.restart_child("a")
        with pytest.raises(kb.AlreadyPresent):
            await tree.start_child(slow(log, "a", gate))
        await tree.terminate_child("a")
        gate.set()
        assert {"a": "stopped", "b": "running"} == await statuses(tree)
        await tree.delete_child("a")

        assert {"b": "running"} == await statuses(tree)
    assert 1 == log.count("start a")


async def test_a_supervisor_that_gives_up_stops_a_child_that_is_just_starting() -> None:
    log = Log()
    gate = asyncio.Event()
    gate.set()
    with pytest.raises(kb.SupervisorGaveUp):
        async with kb.Supervisor(slow(log, "a", gate), member(log, "b"), max_restarts=1) as tree:
            gate.clear()
            await crash(tree, "a")
            tree.ref(Member, "b").cast(Member.crash)
            await asyncio.Event().wait()

    assert not [info for info in kb.processes() if "SlowMember" in repr(info)]


def test_a_slow_restart_that_exceeds_its_start_timeout_is_a_failed_attempt() -> None:
    log = Log()

    async def main() -> None:
        gate = asyncio.Event()
        gate.set()
        async with kb.Supervisor(
            slow(log, "a", gate, start_timeout=1.0), max_restarts=2, within=1000.0
        ) as tree:
            gate.clear()
            tree.ref(Member, "a").cast(Member.crash)
            await asyncio.Event().wait()

    with pytest.raises(kb.SupervisorGaveUp, match="longer than 1 s"):
        run_virtual(main)

    assert 3 == log.count("begin a")


async def test_an_exit_signal_that_a_child_sends_while_it_lives_is_not_taken_for_its_end() -> None:
    log = Log()

    class Rude(Member):
        @kb.message
        def signal(self, other: kb.ActorRef[Any]) -> None:
            other.exit("do as I say")

    async with kb.Supervisor(kb.child(Rude, log, "a").options(id="a")) as tree:
        before = await child_info(tree, "a")
        await tree.ref(Rude, "a").call(Rude.signal, tree.me)

        assert before == await child_info(tree, "a")


async def test_strays_of_any_kind_are_logged_and_harm_no_child(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), kb.Supervisor(member(log, "b"))) as tree:
        sub = tree.ref(kb.Supervisor, "Supervisor")
        await sub.call(kb.Supervisor.count_children)
        for ref in (tree.me, sub):
            ref.exit(kb.Shutdown())
            ref.exit(kb.Normal())
            ref.exit("reason")
            ref.tell("a stray")
            ref.tell(kb.Exit(tree.ref(Member, "a"), kb.Killed()))
            with pytest.raises(kb.UsageError):
                await ref.call(Member.whoami)  # type: ignore[arg-type]
            with pytest.raises(kb.ChildNotFound):
                await ref.call(kb.Supervisor.terminate_child, ["no", "id"])
            with pytest.raises(kb.UsageError):
                await ref.call(kb.Supervisor.start_child, 42)  # type: ignore[arg-type]
            ref.cast(kb.Supervisor.start_child, "nor this")  # type: ignore[arg-type]

        assert {"a": "running", "Supervisor": "running"} == await statuses(tree)
        assert kb.Counts(1, 1, 0, 1) == await sub.call(kb.Supervisor.count_children)
    logged = [record.getMessage() for record in caplog.records if "Unhandled" in record.getMessage()]
    assert 2 * 5 == len(logged)
    assert 2 == sum(line.startswith("start") for line in log)


async def test_ten_thousand_crashes_leave_no_history_behind() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), max_restarts=10_000, within=0.0001) as tree:
        await crash(tree, "a", 300)
        child = tree._children["a"]

        assert len(tree._history) < 50
        assert len(child.history) < 50
        assert 1 == len(tree._by_cell)
