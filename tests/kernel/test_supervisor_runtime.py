"""What a supervisor can be asked while it runs."""

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
)
from tests.virtual import run_virtual

import koboshi as kb


async def test_a_child_is_added_behind_the_others_and_stopped_before_them() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        ref = await tree.start_child(member(log, "b"))
        assert "b" == await ref.call(Member.whoami)

    assert ["start a", "start b", "stop b Shutdown", "stop a Shutdown"] == log


async def test_a_child_whose_start_fails_is_the_callers_error_and_stores_and_disturbs_nothing() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), max_restarts=0) as tree:
        with pytest.raises(kb.StartError, match="b does not start"):
            await tree.start_child(member(log, "b", lambda: True))

        assert {"a": "running"} == await statuses(tree)
    assert ["start a", "fail b", "stop a Shutdown"] == log


async def test_an_id_that_is_taken_is_refused_with_the_running_child_or_as_present() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        with pytest.raises(kb.AlreadyStarted) as caught:
            await tree.start_child(member(log, "a"))
        assert (await child_info(tree, "a")).ref == caught.value.child
        await tree.terminate_child("a")
        with pytest.raises(kb.AlreadyPresent, match="stopped"):
            await tree.start_child(member(log, "a"))

    assert 1 == log.count("start a")


@pytest.mark.parametrize(
    ("restart", "kept"), [("permanent", True), ("transient", True), ("temporary", False)]
)
async def test_an_ignored_child_is_told_to_the_caller_and_kept_unless_temporary(
    restart: str, kept: bool
) -> None:
    log = Log()
    async with kb.Supervisor() as tree:
        with pytest.raises(kb.Ignored):
            await tree.start_child(member(log, "a", lambda: kb.IGNORE, restart=restart))

        assert ({"a": "stopped"} if kept else {}) == await statuses(tree)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_terminate_touches_only_that_child_keeps_its_spec_and_may_be_repeated(strategy: Any) -> None:
    log = Log()
    async with kb.Supervisor(
        *(member(log, name) for name in "abc"), strategy=strategy, max_restarts=0
    ) as tree:
        await tree.terminate_child("a")
        await tree.terminate_child("a")

        assert {"a": "stopped", "b": "running", "c": "running"} == await statuses(tree)
        assert 3 == sum(line.startswith("start") for line in log)


async def test_a_terminated_temporary_child_is_forgotten() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", restart="temporary")) as tree:
        await tree.terminate_child("a")
        with pytest.raises(kb.ChildNotFound):
            await tree.terminate_child("a")

        assert {} == await statuses(tree)


async def test_delete_and_restart_demand_a_stopped_child() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        with pytest.raises(kb.ChildRunning):
            await tree.delete_child("a")
        with pytest.raises(kb.ChildRunning):
            await tree.restart_child("a")
        for request in (tree.delete_child, tree.restart_child, tree.terminate_child):
            with pytest.raises(kb.ChildNotFound, match="its children are: 'a'"):
                await request("b")
        await tree.terminate_child("a")
        ref = await tree.restart_child("a")
        assert "a" == await ref.call(Member.whoami)
        await tree.terminate_child("a")
        await tree.delete_child("a")
        with pytest.raises(kb.ChildNotFound):
            await tree.restart_child("a")


async def test_a_static_supervisor_knows_its_children_by_id_and_not_by_ref() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        with pytest.raises(kb.ChildNotFound):
            await tree.terminate_child((await child_info(tree, "a")).ref)


async def test_a_restart_by_hand_that_fails_leaves_the_child_stopped() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", Failing(None, True, kb.IGNORE))) as tree:
        await tree.terminate_child("a")
        with pytest.raises(kb.StartError):
            await tree.restart_child("a")
        assert {"a": "stopped"} == await statuses(tree)
        with pytest.raises(kb.Ignored):
            await tree.restart_child("a")
        assert {"a": "stopped"} == await statuses(tree)
        await tree.restart_child("a")

        assert {"a": "running"} == await statuses(tree)


async def test_which_children_lists_the_newest_first_with_all_that_is_known() -> None:
    log = Log()
    async with kb.Supervisor(
        member(log, "a"), kb.Supervisor(), member(log, "c", restart="transient")
    ) as tree:
        await crash(tree, "a")
        await end(tree, "c", kb.Normal())
        c, sub, a = await tree.which_children()

    assert ("c", None, "stopped", "worker", 0, kb.Normal()) == (
        c.id,
        c.ref,
        c.status,
        c.kind,
        c.restarts,
        c.last_exit,
    )
    assert ("Supervisor", "running", "supervisor", None) == (sub.id, sub.status, sub.kind, sub.last_exit)
    assert ("a", "running", 1) == (a.id, a.status, a.restarts)
    assert kb.Crashed(ValueError("asked to")) == a.last_exit


async def test_count_children_counts_specs_the_living_and_both_kinds() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), kb.Supervisor(), member(log, "c")) as tree:
        await tree.terminate_child("c")

        assert kb.Counts(specs=3, active=2, supervisors=1, workers=2) == await tree.count_children()


async def test_statistics_are_a_frozen_record() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a"), member(log, "b")) as tree:
        await crash(tree, "a")
        await tree.terminate_child("b")
        found = await tree.statistics()

    assert (
        kb.SupervisorStatistics(
            children=2, running=1, restarting=0, parked=0, restarts=1, strategy="one_for_one"
        )
        == found
    )
    with pytest.raises(AttributeError):
        found.restarts = 5  # type: ignore[misc]


async def test_all_requests_can_be_sent_by_reference_as_well() -> None:
    log = Log()
    async with kb.Supervisor(kb.Supervisor(member(log, "a"))) as tree:
        sub = tree.ref(kb.Supervisor, "Supervisor")
        await sub.call(kb.Supervisor.start_child, member(log, "b"))
        await sub.call(kb.Supervisor.terminate_child, "a")
        await sub.call(kb.Supervisor.restart_child, "a")
        await sub.call(kb.Supervisor.terminate_child, "b")
        await sub.call(kb.Supervisor.delete_child, "b")
        await sub.call(kb.Supervisor.wait_ready)
        found = await sub.call(kb.Supervisor.child, "a")

        assert "a" == await found.call(Member.whoami)
        assert ["a"] == [info.id for info in await sub.call(kb.Supervisor.which_children)]
        with pytest.raises(kb.ChildNotFound):
            await sub.call(kb.Supervisor.child, "b")


async def test_a_child_may_ask_its_own_supervisor_to_terminate_it() -> None:
    log = Log()

    class Tired(Member):
        @kb.message
        async def leave(self, parent: kb.ActorRef[kb.Supervisor]) -> None:
            await parent.call(kb.Supervisor.terminate_child, "a")

    async with kb.Supervisor(kb.child(Tired, log, "a").options(id="a")) as tree:
        with pytest.raises(kb.ActorExited):
            await tree.ref(Tired, "a").call(Tired.leave, tree.me)

        assert {"a": "stopped"} == await statuses(tree)


async def test_a_stable_ref_survives_restarts_and_a_delete_with_a_new_start() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        ref = tree.ref(Member, "a")
        await crash(tree, "a")
        assert "a" == await ref.call(Member.whoami)
        await tree.terminate_child("a")
        with pytest.raises(kb.NotRunning):
            await ref.call(Member.whoami)
        before = tree.ref(Member, "a")
        with pytest.raises(kb.NotRunning):
            await before.call(Member.whoami)
        await tree.delete_child("a")
        with pytest.raises(kb.ChildNotFound, match="its children are: none"):
            tree.ref(Member, "a")
        await tree.start_child(member(log, "a"))

        assert "a" == await ref.call(Member.whoami)
        assert "a" == await before.call(Member.whoami)


async def test_a_ref_to_a_child_of_another_class_is_refused() -> None:
    class Other(kb.Actor):
        pass

    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        with pytest.raises(kb.UsageError, match="is a Member, not a Other"):
            tree.ref(Other, "a")


async def test_requests_to_a_supervisor_that_is_stopping_or_gone_fail_at_once() -> None:
    log = Log()
    gate = asyncio.Event()

    class Slow(Member):
        async def on_stop(self, reason: kb.ExitReason) -> None:
            await gate.wait()

    inner = kb.child(kb.Supervisor, kb.child(Slow, log, "a").options(id="a", shutdown="forever"))
    async with kb.Supervisor(inner.options(id="inner", restart="temporary")) as tree:
        sub = tree.ref(kb.Supervisor, "inner")
        await sub.call(kb.Supervisor.count_children)
        stopping = asyncio.ensure_future(sub.stop())
        await asyncio.sleep(0)
        starting = asyncio.ensure_future(sub.call(kb.Supervisor.start_child, member(log, "b")))
        await asyncio.sleep(0)
        assert not starting.done()
        gate.set()
        await asyncio.wait([stopping, starting])
        with pytest.raises(kb.CallError):
            starting.result()
        with pytest.raises(kb.NotRunning):
            await sub.call(kb.Supervisor.start_child, member(log, "b"))
    with pytest.raises(kb.NotRunning):
        await tree.count_children()

    assert ["start a"] == log


async def test_a_supervisor_that_was_never_started_says_so() -> None:
    with pytest.raises(kb.NotInProcess):
        await kb.Supervisor().count_children()


def test_wait_ready_waits_until_nothing_is_on_its_way() -> None:
    log = Log()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(
            member(log, "a", backoff=(3.0, 3.0)), member(log, "b", backoff=(5.0, 5.0)), member(log, "c")
        ) as tree:
            await tree.wait_ready()
            began = loop.time()
            await crash(tree, "a")
            await crash(tree, "b")
            waiting = [asyncio.ensure_future(tree.wait_ready()) for _ in range(2)]
            await asyncio.gather(*waiting)
            assert pytest.approx(5.0) == loop.time() - began

    run_virtual(main)


@pytest.mark.parametrize("how", ["terminate", "ignore", "park"])
def test_wait_ready_also_ends_when_the_last_one_on_its_way_is_given_up(how: str) -> None:
    log = Log()

    async def main() -> None:
        plans: dict[str, list[object]] = {"ignore": [kb.IGNORE], "park": [True, True, True, True]}
        outcomes = [None, *plans.get(how, [])]
        spec = member(log, "a", Failing(*outcomes), backoff=(1.0, 1.0), on_give_up="park")
        async with kb.Supervisor(spec) as tree:
            await crash(tree, "a")
            waiting = asyncio.ensure_future(tree.wait_ready())
            await asyncio.sleep(0.5)
            assert not waiting.done()
            if how == "terminate":
                await tree.terminate_child("a")
            await asyncio.wait_for(waiting, 60.0)
            assert {"a": "parked" if how == "park" else "stopped"} == await statuses(tree)

    run_virtual(main)


async def test_wait_ready_fails_when_the_supervisor_ends_first() -> None:
    log = Log()
    gate = asyncio.Event()
    gate.set()
    async with kb.Supervisor(
        kb.child(kb.Supervisor, slow(log, "a", gate)).options(id="inner", restart="temporary")
    ) as tree:
        inner = tree.ref(kb.Supervisor, "inner")
        gate.clear()
        (await inner.call(kb.Supervisor.child, "a")).cast(Member.crash)
        await log.until(lambda found: found[-1:] == ["begin a"])
        waiting = asyncio.ensure_future(inner.within(None).call(kb.Supervisor.wait_ready))
        await inner.call(kb.Supervisor.count_children)
        await tree.terminate_child("inner")

        with pytest.raises(kb.ActorExited):
            await waiting
        assert gate.is_set() is False


async def test_a_supervisor_prints_on_one_line_with_its_place_and_its_children() -> None:
    log = Log()
    tree = kb.Supervisor(member(log, "a"), member(log, "b"))
    assert "<Supervisor not started, 2 specs>" == repr(tree)
    async with tree:
        await tree.terminate_child("a")
        assert "<Supervisor supervisor, 1 of 2 children running>" == repr(tree)
        with pytest.raises(kb.UsageError, match="runs already"):
            kb.Supervisor(tree)


class Refusing(kb.Supervisor):
    """Refuses in each of the ways in which a message may be written."""

    @kb.message
    def at_once(self) -> None:
        raise kb.ChildNotFound("nobody")

    @kb.message
    async def waiting(self) -> None:
        await asyncio.sleep(0)
        raise kb.ChildNotFound("nobody")

    @kb.message
    def by_another(self) -> Any:
        return self.waiting()

    @kb.message
    def two(self) -> int:
        return 2


@pytest.mark.parametrize("message", [Refusing.at_once, Refusing.waiting, Refusing.by_another])
@pytest.mark.parametrize("busy", [False, True])
async def test_what_a_supervisors_own_message_refuses_is_the_callers_error(message: Any, busy: bool) -> None:
    async with kb.Supervisor(kb.child(Refusing), max_restarts=0) as tree:
        ref = tree.ref(Refusing, "Refusing")
        if busy:
            ref.cast(Refusing.two)
        with pytest.raises(kb.ChildNotFound, match="nobody"):
            await ref.call(message)

        assert 2 == await ref.call(Refusing.two)
