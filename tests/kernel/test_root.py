"""A supervisor as `async with`: how the body and the tree end each other."""

from __future__ import annotations

import asyncio

import pytest
from tests.kernel.tree_actors import Log, Member, crash, member, slow, statuses, stubborn
from tests.virtual import run_virtual

import koboshi as kb


async def test_the_body_is_interrupted_when_the_tree_gives_up() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp) as caught:
        async with kb.Supervisor(member(log, "a"), max_restarts=0) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                log.append("interrupted")
                raise

    assert "interrupted" == log[-1]
    assert isinstance(caught.value.__cause__, ValueError)
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()
    await asyncio.sleep(0)  # no cancellation is left over


async def test_a_body_that_swallows_the_interruption_is_told_at_its_end() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp):
        async with kb.Supervisor(member(log, "a"), max_restarts=0) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            log.append("went on")

    assert "went on" == log[-1]


async def test_an_exception_of_the_body_wins_and_the_tree_is_stopped_in_reverse() -> None:
    log = Log()
    with pytest.raises(KeyError, match="mine"):
        async with kb.Supervisor(member(log, "a"), member(log, "b")):
            raise KeyError("mine")

    assert ["stop b Shutdown", "stop a Shutdown"] == log[-2:]


async def test_an_exception_of_the_body_wins_over_the_end_of_the_tree_too() -> None:
    log = Log()
    with pytest.raises(KeyError, match="mine"):
        async with kb.Supervisor(member(log, "a"), max_restarts=0) as tree:
            tree.ref(Member, "a").cast(Member.crash)
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError("mine")


async def test_a_tree_that_is_killed_interrupts_the_body_as_well() -> None:
    log = Log()
    with pytest.raises(kb.SupervisorGaveUp, match="Killed"):
        async with kb.Supervisor(member(log, "a")) as tree:
            tree.me.kill()
            await asyncio.Event().wait()


async def test_a_tree_that_ends_cleanly_ends_the_body_without_an_error() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as tree:
        tree.me.cast(kb.Supervisor.terminate_child, "a")
        stopping = asyncio.ensure_future(tree.me.stop(kb.Shutdown("enough")))
        await asyncio.Event().wait()
    await stopping

    assert kb.Shutdown("enough") == tree._exit_reason


async def test_a_cancelled_body_stops_the_tree_in_good_order_and_stays_cancelled() -> None:
    log = Log()
    entered = asyncio.Event()

    async def program() -> None:
        async with kb.Supervisor(member(log, "a"), member(log, "b")):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(program())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["stop b Shutdown", "stop a Shutdown"] == log[-2:]


def test_a_first_cancellation_during_the_orderly_stop_lets_it_finish_and_a_second_one_kills() -> None:
    log = Log()

    async def main() -> None:
        async def program(name: str) -> None:
            async with kb.Supervisor(stubborn(log, name, 10.0, shutdown="forever")):
                pass

        patient, hasty = asyncio.ensure_future(program("a")), asyncio.ensure_future(program("b"))
        await asyncio.sleep(1.0)
        patient.cancel()
        hasty.cancel()
        await asyncio.sleep(1.0)
        assert not patient.done()
        assert not hasty.done()
        hasty.cancel()
        await asyncio.sleep(1.0)
        assert hasty.cancelled()
        assert not patient.done()
        await asyncio.wait([patient])
        assert patient.cancelled()

    run_virtual(main)

    assert "stop a Shutdown" in log
    assert "stop b Shutdown" not in log


def test_a_timeout_around_the_tree_stops_it_in_good_order() -> None:
    log = Log()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0), kb.Supervisor(stubborn(log, "a", 1.0)):
                await asyncio.Event().wait()

    run_virtual(main)

    assert ["start a", "stop a Shutdown"] == log


async def test_a_start_that_is_cancelled_stops_in_reverse_what_has_been_started() -> None:
    log = Log()

    async def program() -> None:
        async with kb.Supervisor(member(log, "a"), member(log, "b"), slow(log, "c", asyncio.Event())):
            log.append("body")

    task = asyncio.ensure_future(program())
    await log.until(lambda found: "begin c" in found)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["start a", "start b", "begin c", "stop b Shutdown", "stop a Shutdown"] == log


async def test_a_start_that_is_cancelled_deep_in_the_tree_stops_all_levels_in_reverse() -> None:
    log = Log()
    inner = kb.Supervisor(member(log, "b"), slow(log, "c", asyncio.Event()))

    async def program() -> None:
        async with kb.Supervisor(member(log, "a"), inner):
            log.append("body")

    task = asyncio.ensure_future(program())
    await log.until(lambda found: "begin c" in found)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["start a", "start b", "begin c", "stop b Shutdown", "stop a Shutdown"] == log


async def test_a_tree_is_entered_once() -> None:
    tree = kb.Supervisor()
    async with tree:
        with pytest.raises(kb.UsageError, match="entered before"):
            await tree.__aenter__()
    with pytest.raises(kb.UsageError, match="entered before"):
        await tree.__aenter__()


async def test_a_failed_start_raises_start_error_with_the_cause_and_leaves_nothing_running() -> None:
    log = Log()
    tree = kb.Supervisor(member(log, "a"), member(log, "b", lambda: True))
    with pytest.raises(kb.StartError, match="b does not start"):
        async with tree:
            log.append("body")

    assert ["start a", "fail b", "stop a Shutdown"] == log


async def test_trees_may_be_nested_as_bodies_and_each_ends_its_own() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a")) as outer:
        with pytest.raises(kb.SupervisorGaveUp):
            async with kb.Supervisor(member(log, "b"), max_restarts=0) as inner:
                inner.ref(Member, "b").cast(Member.crash)
                await asyncio.Event().wait()
        await crash(outer, "a")

        assert {"a": "running"} == await statuses(outer)


class Owner(kb.Actor):
    """Has a tree in the body of a handler."""

    def __init__(self, log: Log, entered: asyncio.Event) -> None:
        self.log = log
        self.entered = entered

    @kb.message
    async def own(self) -> str:
        try:
            async with kb.Supervisor(member(self.log, "a"), max_restarts=0) as tree:
                self.tree = tree
                self.entered.set()
                await asyncio.Event().wait()
        except kb.SupervisorGaveUp:
            return "gave up"
        return "ended"


@pytest.mark.parametrize("how", ["kill", "exit"])
async def test_a_tree_in_an_actors_handler_ends_with_the_actor(how: str) -> None:
    log = Log()
    entered = asyncio.Event()
    owner = await kb.start(Owner, log, entered)
    owner.cast(Owner.own)
    await entered.wait()
    cell = next(cell for cell in owner._cell.node.cells.values() if isinstance(cell.actor, kb.Supervisor))
    tree: kb.ActorRef[kb.Supervisor] = kb.ActorRef(cell)
    if how == "kill":
        owner.kill()
    else:
        owner.exit("go")
    await owner.wait_exit()
    async with asyncio.timeout(5.0):
        await tree.wait_exit()

    assert 2 == len(log)
    assert log[1].startswith("stop a")


async def test_an_actor_survives_the_end_of_a_tree_in_its_handler() -> None:
    log = Log()
    entered = asyncio.Event()
    owner = await kb.start(Owner, log, entered)
    asking = asyncio.ensure_future(owner.call(Owner.own))
    await entered.wait()
    tree: kb.Supervisor = owner._cell.actor.tree
    tree.ref(Member, "a").cast(Member.crash)

    assert "gave up" == await asking
    assert owner.alive
    owner.kill()
    await owner.wait_exit()
