"""Children that come and go: `DynamicSupervisor`."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from tests.kernel.tree_actors import Failing, Log, Member, SlowMember, member, slow, stubborn
from tests.virtual import run_virtual

import koboshi as kb


def of(log: Log, name: str, *more: Any, **options: Any) -> kb.ChildSpec[Member]:
    """A member without an id of its own."""
    return kb.child(Member, log, name, *more).options(**options)


async def restarted(tree: kb.DynamicSupervisor, ref: kb.ActorRef[Any], reason: object = "die") -> None:
    """End a child and wait until its supervisor has done with it."""
    ref.exit(reason)
    await ref.wait_exit()
    await tree.wait_ready()


async def test_children_are_known_by_their_refs_and_terminate_forgets_them() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        a, b = await tree.start_child(of(log, "a")), await tree.start_child(of(log, "b"))
        await tree.terminate_child(a)

        assert [b] == [info.ref for info in await tree.which_children()]
        with pytest.raises(kb.ChildNotFound):
            await tree.terminate_child(a)
        strangers: tuple[Any, ...] = ("a", [], 99, tree.me)
        for stranger in strangers:
            with pytest.raises(kb.ChildNotFound):
                await tree.terminate_child(stranger)


async def test_a_ref_from_before_a_restart_names_nobody() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        old = await tree.start_child(of(log, "a"))
        await restarted(tree, old)
        with pytest.raises(kb.ChildNotFound):
            await tree.terminate_child(old)
        (info,) = await tree.which_children()
        assert info.ref != old
        await tree.terminate_child(info.ref)

        assert [] == await tree.which_children()


async def test_the_limit_counts_children_that_are_being_restarted() -> None:
    log = Log()
    async with kb.DynamicSupervisor(max_children=2, backoff=(60.0, 60.0)) as tree:
        a = await tree.start_child(of(log, "a"))
        await tree.start_child(of(log, "b"))
        with pytest.raises(kb.TooManyChildren, match="max_children=2"):
            await tree.start_child(of(log, "c"))
        a.exit("die")
        await a.wait_exit()
        assert kb.Counts(specs=2, active=1, supervisors=0, workers=2) == await tree.count_children()
        with pytest.raises(kb.TooManyChildren):
            await tree.start_child(of(log, "c"))
        await tree.terminate_child((await tree.which_children())[1].id)
        await tree.start_child(of(log, "c"))

    assert 1 == log.count("start c")


async def test_the_limit_counts_children_that_are_starting_and_frees_the_place_of_a_failed_start() -> None:
    log = Log()
    gate = asyncio.Event()
    async with kb.DynamicSupervisor(max_children=1) as tree:
        starting = asyncio.ensure_future(tree.start_child(slow(log, "a", gate, Failing(True))))
        await log.reach(1)
        with pytest.raises(kb.TooManyChildren):
            await tree.start_child(of(log, "b"))
        gate.set()
        with pytest.raises(kb.StartError):
            await starting
        await tree.start_child(of(log, "b"))


async def test_extra_arguments_go_before_the_specs_and_again_at_each_restart() -> None:
    log = Log()
    async with kb.DynamicSupervisor(extra_args=(log,)) as tree:
        ref = await tree.start_child(kb.child(Member, "a"))  # type: ignore[call-overload]
        await restarted(tree, ref)
        with pytest.raises(kb.UsageError, match="missing"):
            await tree.start_child(kb.child(Member))  # type: ignore[call-overload]

    assert ["start a", "stop a Exited", "start a", "stop a Shutdown"] == log


async def test_a_slow_start_holds_up_nobody_else() -> None:
    log = Log()
    gate = asyncio.Event()
    async with kb.DynamicSupervisor() as tree:
        slow_ones = [asyncio.ensure_future(tree.start_child(slow(log, name, gate))) for name in "ab"]
        await log.reach(2)
        await tree.start_child(of(log, "c"))
        assert ["begin a", "begin b", "start c"] == log
        assert ["running", "starting", "starting"] == [info.status for info in await tree.which_children()]
        gate.set()
        refs = await asyncio.gather(*slow_ones)

        assert ["a", "b"] == [await ref.call(Member.whoami) for ref in refs]
        assert 3 == (await tree.count_children()).active


async def test_a_slow_start_that_fails_at_its_first_step_is_the_starters_error() -> None:
    log = Log()
    gate = asyncio.Event()
    gate.set()
    async with kb.DynamicSupervisor() as tree:
        with pytest.raises(kb.StartError, match="a does not start"):
            await tree.start_child(slow(log, "a", gate, Failing(True)))
        with pytest.raises(kb.Ignored):
            await tree.start_child(slow(log, "a", gate, Failing(kb.IGNORE)))

        assert [] == await tree.which_children()


@pytest.mark.parametrize("make", [of, lambda log, name, fail: slow(log, name, set_gate(), fail)])
async def test_nothing_is_stored_of_what_did_not_start_or_was_ignored(make: Any) -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        with pytest.raises(kb.Ignored):
            await tree.start_child(make(log, "a", Failing(kb.IGNORE)))
        with pytest.raises(kb.StartError):
            await tree.start_child(make(log, "a", Failing(True)))

        assert kb.Counts(0, 0, 0, 0) == await tree.count_children()
        assert {} == tree._by_cell


def set_gate() -> asyncio.Event:
    """A gate that is open."""
    gate = asyncio.Event()
    gate.set()
    return gate


async def test_an_ignored_restart_drops_the_child() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        ref = await tree.start_child(of(log, "a", Failing(None, kb.IGNORE)))
        await restarted(tree, ref)

        assert [] == await tree.which_children()


async def test_a_child_that_is_terminated_while_it_starts_is_its_starters_error() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        starting = asyncio.ensure_future(tree.start_child(slow(log, "a", asyncio.Event())))
        await log.reach(1)
        (info,) = await tree.which_children()
        assert "starting" == info.status
        await tree.terminate_child(info.id)
        with pytest.raises(kb.StartError) as caught:
            await starting

        assert kb.Shutdown() == caught.value.reason
        assert [] == await tree.which_children()
        assert {} == tree._by_cell
    assert ["begin a"] == log


async def test_a_supervisor_that_stops_takes_starting_children_along_and_their_starters_hear_of_it() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        starting = asyncio.ensure_future(tree.start_child(slow(log, "a", asyncio.Event())))
        await log.reach(1)
    with pytest.raises(kb.ActorExited):
        await starting

    assert ["begin a"] == log
    assert not any(isinstance(cell.actor, SlowMember) for cell in tree._kb_cell.node.cells.values())


async def test_a_starting_child_dies_with_a_supervisor_that_is_killed() -> None:
    log = Log()
    inner = kb.child(kb.DynamicSupervisor).options(id="inner", restart="temporary")
    async with kb.Supervisor(inner) as tree:
        sub = tree.ref(kb.DynamicSupervisor, "inner")
        starting = asyncio.ensure_future(
            sub.within(None).call(kb.DynamicSupervisor.start_child, slow(log, "a", asyncio.Event()))
        )
        await log.reach(1)
        (await tree.which_children())[0].ref.kill()  # type: ignore[union-attr]
        with pytest.raises(kb.ActorExited):
            await starting
        await tree.count_children()

        assert not any(isinstance(cell.actor, SlowMember) for cell in tree._kb_cell.node.cells.values())


def test_a_start_timeout_kills_only_the_slow_child() -> None:
    log = Log()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with kb.DynamicSupervisor() as tree:
            began = loop.time()
            with pytest.raises(kb.StartTimeout):
                await tree.start_child(slow(log, "a", asyncio.Event(), start_timeout=2.0))
            assert pytest.approx(2.0) == loop.time() - began
            assert [] == await tree.which_children()

    run_virtual(main)


async def test_a_slow_restart_holds_up_nobody_and_a_crash_right_after_it_is_seen() -> None:
    log = Log()
    gate = set_gate()

    class Hasty(SlowMember):
        async def on_start(self) -> object:
            result = await super().on_start()
            if log.count("start a") == 2:
                self.me.cast(Member.crash)
            return result

    async with kb.DynamicSupervisor() as tree:
        ref = await tree.start_child(kb.child(Hasty, log, "a", gate))
        gate.clear()
        ref.cast(Member.crash)
        await ref.wait_exit()
        await tree.start_child(of(log, "b"))
        assert "b" in log[-1]
        gate.set()
        while log.count("start a") < 3:
            await tree.wait_ready()
        await tree.wait_ready()

        assert ["running", "running"] == [info.status for info in await tree.which_children()]
        assert [0, 2] == [info.restarts for info in await tree.which_children()]


async def test_a_child_that_crashes_at_once_after_a_slow_first_start_is_restarted() -> None:
    log = Log()

    class Hasty(SlowMember):
        async def on_start(self) -> object:
            result = await super().on_start()
            if log.count("start a") == 1:
                self.me.cast(Member.crash)
            return result

    async with kb.DynamicSupervisor() as tree:
        await tree.start_child(kb.child(Hasty, log, "a", set_gate()))
        while log.count("start a") < 2:
            await tree.wait_ready()
        await tree.wait_ready()

        assert [("running", 1)] == [(info.status, info.restarts) for info in await tree.which_children()]


def test_children_are_stopped_all_at_once_each_with_its_own_shutdown() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.DynamicSupervisor() as tree:
            for number in range(5):
                await tree.start_child(stubborn(log, f"{number}", 0.1 * (number + 1)))
            await tree.start_child(stubborn(log, "late", 50.0, shutdown=0.3))
            await tree.start_child(stubborn(log, "killed", 50.0, shutdown="kill"))
            log.clear()
            began = loop.time()
        return loop.time() - began

    assert pytest.approx(0.5) == run_virtual(main)
    assert [f"stop {number} Shutdown" for number in range(5)] == log


async def test_an_id_is_used_for_the_path_and_may_repeat() -> None:
    log = Log()
    async with kb.DynamicSupervisor() as tree:
        await tree.start_child(member(log, "a"))
        await tree.start_child(member(log, "a"))
        ids = [info.id for info in await tree.which_children()]

        assert "a" == ids[1]
        assert 2 == len(set(ids))
        assert "a" == await tree.ref(Member, "a").call(Member.whoami)


async def test_the_arguments_of_a_temporary_child_are_not_kept() -> None:
    class Big:
        pass

    async def body(big: Big) -> None:
        del big
        await kb.receive()

    class Worker(kb.Actor):
        def __init__(self, big: Big) -> None:
            pass

    async with (
        kb.DynamicSupervisor() as dynamic,
        kb.Supervisor(kb.child(Worker, big := Big()).options(restart="temporary")) as static,
    ):
        kept = [weakref.ref(big), weakref.ref(more := Big())]
        await dynamic.start_child(kb.child(Worker, more).options(restart="temporary"))
        del big, more
        await static.count_children()
        gc.collect()

        assert [None, None] == [each() for each in kept]


async def test_two_thousand_temporary_children_leave_nothing_behind() -> None:
    class Job(kb.Actor):
        @kb.message
        def work(self) -> None:
            self.stop()

    async with kb.DynamicSupervisor() as tree:
        spec = kb.child(Job).options(restart="temporary")
        for _ in range(20):
            refs = [await tree.start_child(spec) for _ in range(100)]
            for ref in refs:
                ref.cast(Job.work)
            for ref in refs:
                await ref.wait_exit()
            await tree.count_children()
            del refs, ref
        gc.collect()

        assert kb.Counts(0, 0, 0, 0) == await tree.count_children()
        assert {} == tree._children
        assert {} == tree._by_cell
        assert not tree._background
        assert 0 == len(tree._place()._inner or {})
        assert 1 == len(tree._kb_cell.node.cells)
        assert tree._kb_cell.bonds is not None
        assert {} == tree._kb_cell.bonds.links
        assert not tree._kb_cell.bonds.owed


async def test_a_bare_process_with_extra_arguments_that_do_not_fit_is_refused() -> None:
    async def body(n: int) -> None:
        await kb.receive()

    async with kb.DynamicSupervisor(extra_args=(1, 2)) as tree:
        with pytest.raises(kb.UsageError, match="fit"):
            await tree.start_child(kb.child(body, 3))

        assert [] == await tree.which_children()
