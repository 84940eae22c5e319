"""Supervisors under supervisors."""

from __future__ import annotations

import asyncio

import pytest
from tests.kernel.tree_actors import Failing, Log, Member, member, slow, statuses, stubborn
from tests.virtual import run_virtual

import koboshi as kb


def nested(log: Log, *names: str, **options: object) -> kb.ChildSpec[kb.Supervisor]:
    """A supervisor of members with its id `sub`."""
    return kb.child(kb.Supervisor, *(member(log, name) for name in names), max_restarts=0).options(
        id="sub",
        **options,  # type: ignore[arg-type]
    )


async def test_trees_start_depth_first_and_stop_in_the_exact_reverse() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), nested(log, "b", "c"), member(log, "d")):
        assert [f"start {name}" for name in "abcd"] == log
        log.clear()

    assert [f"stop {name} Shutdown" for name in "dcba"] == log


@pytest.mark.parametrize("restart", ["permanent", "transient"])
async def test_a_supervisor_that_gave_up_is_restarted_with_all_its_children_even_if_transient(
    restart: str,
) -> None:
    log = Log()
    async with kb.Supervisor(nested(log, "a", "b", restart=restart)) as tree:
        sub = tree.ref(kb.Supervisor, "sub")
        a, b = await sub.call(kb.Supervisor.child, "a"), await sub.call(kb.Supervisor.child, "b")
        old = (await tree.which_children())[0].ref
        assert old is not None
        a.cast(Member.crash)
        reason = await old.wait_exit()
        await tree.wait_ready()

        assert kb.Shutdown(kb.GaveUp("a", kb.Crashed(ValueError("asked to")))) == reason
        assert ["a", "b"] == [await a.call(Member.whoami), await b.call(Member.whoami)]
    assert 2 == log.count("start b")


async def test_giving_up_climbs_level_by_level_and_names_the_way() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp) as caught:
        async with kb.Supervisor(nested(log, "a"), member(log, "z"), max_restarts=0) as tree:
            sub = tree.ref(kb.Supervisor, "sub")
            (await sub.call(kb.Supervisor.child, "a")).cast(Member.crash, "the root of it")
            await asyncio.Event().wait()

    inner = kb.Shutdown(kb.GaveUp("a", kb.Crashed(ValueError("the root of it"))))
    assert kb.Shutdown(kb.GaveUp("sub", inner)) == caught.value.reason
    assert isinstance(caught.value.__cause__, ValueError)
    assert ["start a", "start z", "stop a Crashed", "stop z Shutdown"] == log


async def test_a_nested_start_that_fails_rolls_the_whole_tree_back() -> None:
    log = Log()
    inner = kb.child(kb.Supervisor, member(log, "b"), member(log, "c", lambda: True)).options(id="sub")

    with pytest.raises(kb.StartError) as caught:
        await kb.Supervisor(member(log, "a"), inner).__aenter__()

    assert ["start a", "start b", "fail c", "stop b Shutdown", "stop a Shutdown"] == log
    reason = kb.Shutdown(kb.FailedToStart("c", kb.Crashed(RuntimeError("c does not start"))))
    assert kb.Shutdown(kb.FailedToStart("sub", reason)) == caught.value.reason


async def test_a_killed_supervisor_takes_its_children_with_killed_and_trapping_ones_still_run_on_stop() -> (
    None
):
    log = Log()

    class Trapping(Member):
        def on_start(self) -> object:
            self.trap_exits()
            return super().on_start()

    inner = kb.child(kb.Supervisor, kb.child(Trapping, log, "a"), nested(log, "b")).options(id="top")
    async with kb.Supervisor(inner) as tree:
        pid = (await tree.which_children())[0].ref
        assert pid is not None
        log.clear()
        pid.kill()
        await pid.wait_exit()
        while len(log) < 4:
            await tree.wait_ready()

    # The nested supervisor obeys the exit of its parent, so it stops its own child in good order.
    assert {"stop a Killed", "stop b Shutdown", "start a", "start b"} == set(log[:4])


async def test_the_exit_of_its_parent_ends_a_supervisor_even_a_normal_one() -> None:
    log = Log()

    class Parent(kb.Actor):
        async def on_start(self) -> None:
            self.child = await kb.start_link(kb.Supervisor, member(log, "a"))

        @kb.message
        def leave(self) -> kb.ActorRef[kb.Supervisor]:
            self.stop()
            return self.child

    parent = await kb.start(Parent)
    supervisor = await parent.call(Parent.leave)

    assert kb.Normal() == await supervisor.wait_exit(5.0)
    assert ["start a", "stop a Normal"] == [line.replace("Shutdown", "Normal") for line in log]


async def test_a_stable_ref_into_a_nested_tree_outlives_the_restart_of_that_tree() -> None:
    log = Log()
    async with kb.Supervisor(nested(log, "a")) as tree:
        sub = tree.ref(kb.Supervisor, "sub")
        a = await sub.call(kb.Supervisor.child, "a")
        for _ in range(3):
            pid = (await tree.which_children())[0].ref
            assert pid is not None
            pid.kill()
            await pid.wait_exit()
            await tree.wait_ready()

            assert "a" == await a.call(Member.whoami)
            assert ["a"] == [info.id for info in await sub.call(kb.Supervisor.which_children)]


async def test_a_supervisor_object_is_a_spec_and_may_be_used_again_and_again() -> None:
    log = Log()
    inner = kb.Supervisor(member(log, "a"), max_restarts=0, strategy="one_for_all")
    for _ in range(2):
        async with kb.Supervisor(inner) as tree:
            stats = await tree.ref(kb.Supervisor, "Supervisor").call(kb.Supervisor.statistics)
            assert "one_for_all" == stats.strategy

    assert 2 == log.count("start a")


async def test_a_dynamic_supervisor_object_keeps_its_options_as_a_child() -> None:
    log = Log()
    async with kb.Supervisor(kb.DynamicSupervisor(max_children=1, extra_args=(log,))) as tree:
        sub = tree.ref(kb.DynamicSupervisor, "DynamicSupervisor")
        await sub.call(kb.DynamicSupervisor.start_child, kb.child(Member, "a"))  # type: ignore[call-overload]
        with pytest.raises(kb.TooManyChildren):
            await sub.call(kb.DynamicSupervisor.start_child, kb.child(Member, "a"))  # type: ignore[call-overload]

    assert ["start a", "stop a Shutdown"] == log


def test_a_nested_supervisor_that_is_still_starting_is_stopped_in_good_order() -> None:
    log = Log()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = asyncio.Event()
        gate.set()
        inner = kb.child(
            kb.Supervisor, stubborn(log, "a", 1.0), slow(log, "b", gate), max_restarts=0
        ).options(id="sub")
        async with kb.Supervisor(inner) as tree:
            gate.clear()
            (await tree.ref(kb.Supervisor, "sub").call(kb.Supervisor.child, "b")).cast(Member.crash)
            await log.until(lambda found: found[-1:] == ["begin b"])
            log.clear()
            began = loop.time()
            await tree.terminate_child("sub")
            assert pytest.approx(1.0) == loop.time() - began
            assert {"sub": "stopped"} == await statuses(tree)
            assert ["stop a Shutdown"] == log

    run_virtual(main)


async def test_a_nested_restart_that_keeps_failing_is_given_up_by_the_parent() -> None:
    log = Log()
    fail = Failing(None, *[True] * 99)
    inner = kb.child(kb.Supervisor, member(log, "a", fail), max_restarts=0).options(id="sub")
    with pytest.raises(kb.SupervisorGaveUp, match="'sub'"):
        async with kb.Supervisor(inner, max_restarts=2, within=1000.0) as tree:
            sub = tree.ref(kb.Supervisor, "sub")
            (await sub.call(kb.Supervisor.child, "a")).cast(Member.crash)
            await asyncio.Event().wait()

    assert 2 == log.count("fail a")
