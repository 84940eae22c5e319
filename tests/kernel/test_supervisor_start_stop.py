"""How a supervisor starts and stops its children."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kernel.tree_actors import Failing, Log, Member, member, slow, statuses, stubborn
from tests.virtual import run_virtual

import koboshi as kb

# What the type checker would refuse is refused at run time as well.
loose: Any = kb


async def test_children_start_in_list_order_and_stop_strictly_in_reverse() -> None:
    log = Log()
    async with kb.Supervisor(*(member(log, name) for name in "abc")):
        assert ["start a", "start b", "start c"] == log
        log.clear()

    assert ["stop c Shutdown", "stop b Shutdown", "stop a Shutdown"] == log


async def test_a_child_is_started_only_after_the_start_of_the_one_before_has_returned() -> None:
    log = Log()
    gate = asyncio.Event()

    async def enter() -> None:
        async with kb.Supervisor(slow(log, "a", gate), member(log, "b")):
            log.append("body")

    running = asyncio.ensure_future(enter())
    await log.until(lambda found: "begin a" in found)
    assert ["begin a"] == log
    gate.set()
    await running

    assert ["begin a", "start a", "start b", "body"] == log[:4]


def test_each_child_has_finished_before_the_next_is_told_to_stop() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(*(stubborn(log, name, 0.1) for name in "abcde")):
            began = loop.time()
        return loop.time() - began

    assert pytest.approx(0.5) == run_virtual(main)
    assert [f"stop {name} Shutdown" for name in "edcba"] == log[5:]


async def test_a_failing_start_stops_the_earlier_children_in_reverse_and_names_the_child() -> None:
    log = Log()
    tree = kb.Supervisor(member(log, "a"), member(log, "b"), member(log, "c", lambda: True), member(log, "d"))

    with pytest.raises(kb.StartError) as caught:
        await tree.__aenter__()

    assert ["start a", "start b", "fail c", "stop b Shutdown", "stop a Shutdown"] == log
    reason = caught.value.reason
    assert isinstance(reason, kb.Shutdown)
    assert isinstance(reason.detail, kb.FailedToStart)
    assert "c" == reason.detail.child
    assert kb.Crashed(RuntimeError("c does not start")) == reason.detail.reason


async def test_a_failed_start_leaves_no_name_behind() -> None:
    log = Log()
    for _ in range(2):
        tree = kb.Supervisor(member(log, "a", name="only one"), member(log, "b", lambda: True))
        with pytest.raises(kb.StartError):
            await tree.__aenter__()

        assert kb.whereis("only one") is None


async def test_a_name_that_is_taken_is_a_failed_start() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", name="taken")):
        with pytest.raises(kb.StartError, match="taken"):
            await kb.Supervisor(member(log, "b", name="taken")).__aenter__()


@pytest.mark.parametrize(
    ("restart", "kept"), [("permanent", True), ("transient", True), ("temporary", False)]
)
async def test_an_ignored_start_keeps_the_spec_unless_it_is_temporary(restart: Any, kept: bool) -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", lambda: kb.IGNORE, restart=restart), member(log, "b")) as tree:
        assert ({"a": "stopped"} if kept else {}) | {"b": "running"} == await statuses(tree)


@pytest.mark.parametrize("shutdown", [0.05, 0])
def test_a_stubborn_child_is_killed_when_its_time_is_over(shutdown: float) -> None:
    log = Log()

    async def main() -> tuple[float, kb.ExitReason | None]:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(stubborn(log, "a", 100.0, shutdown=shutdown)) as tree:
            pid = tree.ref(Member, "a")
            began = loop.time()
        return loop.time() - began, await pid.wait_exit()

    took, reason = run_virtual(main)

    assert pytest.approx(shutdown, abs=0.11) == took  # a killed coroutine has a tenth of a second to unwind
    assert kb.Killed() == reason
    assert ["start a"] == log


async def test_shutdown_kill_asks_nobody() -> None:
    log = Log()
    async with kb.Supervisor(member(log, "a", shutdown="kill")):
        pass

    assert ["start a"] == log


def test_shutdown_forever_never_kills() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(stubborn(log, "a", 100_000.0, shutdown="forever")):
            began = loop.time()
        return loop.time() - began

    assert pytest.approx(100_000.0) == run_virtual(main)
    assert ["start a", "stop a Shutdown"] == log


def test_mixed_shutdowns_are_each_honoured_in_reverse_order() -> None:
    log = Log()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with kb.Supervisor(
            stubborn(log, "a", 1.0),
            stubborn(log, "b", 50.0, shutdown=2.0),
            stubborn(log, "c", 7.0, shutdown="forever"),
            stubborn(log, "d", 50.0, shutdown="kill"),
        ):
            log.clear()
            began = loop.time()
        return loop.time() - began

    assert pytest.approx(7.0 + 2.0 + 1.0, abs=0.21) == run_virtual(main)
    assert ["stop c Shutdown", "stop a Shutdown"] == log


async def test_the_default_shutdown_is_five_seconds_and_forever_for_a_supervisor() -> None:
    assert 5.0 == kb.child(Member, [], "a").shutdown  # type: ignore[call-overload]
    assert "forever" == kb.child(kb.Supervisor).shutdown


async def test_on_stop_runs_on_an_orderly_shutdown_whether_the_child_traps_exits_or_not() -> None:
    log = Log()

    class Trapping(Member):
        def on_start(self) -> object:
            self.trap_exits()
            return super().on_start()

    async with kb.Supervisor(member(log, "plain"), kb.child(Trapping, log, "trapping")):
        log.clear()

    assert ["stop trapping Shutdown", "stop plain Shutdown"] == log


class Unlinked(Member):
    """Leaves its supervisor's link, and takes its time to stop."""

    def __init__(self, log: Log, name: str, parent: list[kb.ActorRef[Any]]) -> None:
        super().__init__(log, name)
        self.parent = parent

    @kb.message
    def unlink(self) -> None:
        kb.unlink(self.parent[0])


async def test_a_child_that_has_unlinked_itself_cannot_hang_its_supervisor() -> None:
    log = Log()
    parent: list[kb.ActorRef[Any]] = []
    async with kb.Supervisor(kb.child(Unlinked, log, "a", parent).options(id="a")) as tree:
        parent.append(tree.me)
        await tree.ref(Unlinked, "a").call(Unlinked.unlink)
        async with asyncio.timeout(2.0):
            await tree.terminate_child("a")

    assert ["start a", "stop a Shutdown"] == log


def test_a_child_still_hears_of_the_kill_of_its_supervisor_while_it_is_being_stopped() -> None:
    log = Log()

    async def main() -> None:
        inner = kb.child(kb.Supervisor, slow_trap(log)).options(id="inner", restart="temporary")
        async with kb.Supervisor(inner) as tree:
            sub = tree.ref(kb.Supervisor, "inner")
            (info,) = await sub.call(kb.Supervisor.which_children)
            pid, supervisor = info.ref, (await tree.which_children())[0].ref
            assert pid is not None
            assert supervisor is not None
            stopping = asyncio.ensure_future(sub.within(None).call(kb.Supervisor.terminate_child, "a"))
            await asyncio.sleep(1.0)
            supervisor.kill()
            assert kb.Killed() == await pid.wait_exit(1.0)
            with pytest.raises(kb.ActorExited):
                await stopping

    run_virtual(main)

    assert ["got Shutdown", "got Killed"] == log


def slow_trap(log: Log) -> kb.ChildSpec[Any]:
    async def trapping() -> None:
        kb.trap_exits()
        while True:
            exit = await kb.receive(kb.Exit)
            log.append(f"got {type(exit.reason).__name__}")
            if isinstance(exit.reason, kb.Killed):
                raise kb.Stop(exit.reason)

    return kb.child(trapping).options(id="a", shutdown="forever")


async def test_a_bare_process_is_a_child_like_any_other() -> None:
    log = Log()

    async def body(name: str) -> None:
        log.append(f"start {name}")
        try:
            while True:
                await kb.receive()
        finally:
            log.append(f"stop {name}")

    async with kb.Supervisor(kb.child(body, "p").options(id="p"), member(log, "a")) as tree:
        pid = (await tree.which_children())[1].ref
        assert pid is not None
        pid.kill()
        await pid.wait_exit()
        await tree.wait_ready()
        assert {"p": "running", "a": "running"} == await statuses(tree)

    assert ["stop a Shutdown", "stop p"] == log[-2:]


async def test_a_start_longer_than_its_timeout_is_killed_and_fails() -> None:
    log = Log()
    tree = kb.Supervisor(member(log, "a"), slow(log, "b", asyncio.Event(), start_timeout=0.01))

    with pytest.raises(kb.StartError, match="longer than"):
        await tree.__aenter__()

    assert ["start a", "begin b", "stop a Shutdown"] == log


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda log: loose.Supervisor(member(log, "a"), member(log, "a")), "two children have the id 'a'"),
        (lambda log: loose.Supervisor(member(log, "a"), strategy="all_for_one"), "one_for_all"),
        (lambda log: loose.Supervisor(member(log, "a"), auto_shutdown="yes"), "auto_shutdown"),
        (lambda log: loose.Supervisor(member(log, "a"), max_restarts=-1), "max_restarts"),
        (lambda log: loose.Supervisor(member(log, "a"), within=0), "within"),
        (lambda log: loose.Supervisor(member(log, "a"), backoff="slow"), "backoff"),
        (lambda log: loose.Supervisor(Member), "child specs"),
        (lambda log: loose.Supervisor(Member(log, "a")), "child specs"),
        (lambda log: loose.child(Member(log, "a")), "kb.child"),
        (lambda log: loose.child(print), "async def"),
        (lambda log: loose.Supervisor(loose.child(Member, log)), "missing"),
        (lambda log: loose.child(Member, log, "a", None, 4, 5), "too many"),
        (lambda log: member(log, "a", restart="always"), "permanent"),
        (lambda log: member(log, "a", shutdown=-1), "shutdown"),
        (lambda log: member(log, "a", shutdown="never"), "shutdown"),
        (lambda log: member(log, "a", start_timeout=0), "start_timeout"),
        (lambda log: member(log, "a", mailbox=0), "mailbox"),
        (lambda log: member(log, "a", overflow="block"), "overflow"),
        (lambda log: member(log, "a", significant=1), "significant"),
        (lambda log: member(log, "a", on_give_up="sleep"), "on_give_up"),
        (lambda log: member(log, "a", budget=3), "budget"),
        (lambda log: member(log, "a").options(id=[]), "id"),
        (lambda log: loose.DynamicSupervisor(max_children=-1), "max_children"),
    ],
)
def test_a_wrong_option_is_refused_by_name_before_anything_starts(make: Any, said: str) -> None:
    log = Log()

    with pytest.raises(kb.UsageError, match=said):
        make(log)

    assert [] == log


async def test_a_crash_between_the_end_of_a_start_and_the_next_is_not_missed() -> None:
    log = Log()

    class Hasty(Member):
        async def on_start(self) -> object:
            await asyncio.sleep(0)
            if log.count("start a") == 0:
                self.me.cast(Member.crash)
            return super().on_start()

    async with kb.Supervisor(kb.child(Hasty, log, "a").options(id="a"), member(log, "b")) as tree:
        await tree.wait_ready()
        info = {each.id: each for each in await tree.which_children()}["a"]
        while info.restarts == 0:
            await tree.wait_ready()
            info = {each.id: each for each in await tree.which_children()}["a"]

    assert 2 == log.count("start a")
    assert 1 == info.restarts


async def test_a_start_that_fails_once_fails_only_that_attempt_of_the_whole_tree() -> None:
    log = Log()
    fail = Failing(True)

    with pytest.raises(kb.StartError):
        await kb.Supervisor(member(log, "a", fail)).__aenter__()
    async with kb.Supervisor(member(log, "a", fail)):
        pass

    assert ["fail a", "start a", "stop a Shutdown"] == log
