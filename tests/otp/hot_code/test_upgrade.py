"""`upgrade`: a running actor gets another class and keeps its mail, ties and names, or nothing changes."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.otp.hot_code.versions import (
    AddsNothing,
    Awaits,
    CannotMigrate,
    Counter,
    Counter2,
    Counter3,
    NoDict,
    OtherArguments,
    OtherLayout,
    Stops,
)
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi._kernel._system import ask
from koboshi.otp.hot_code._change import prepare, roll_back


async def test_the_state_is_migrated_and_the_new_class_handles_the_next_message() -> None:
    ref = await kb.start(Counter, 3)
    ref.cast(Counter.add, 1)
    await kb.upgrade(ref, Counter2)

    assert {"fruit": {"apples": 4}, "seen": [("from", 1)]} == await otp.get_state(ref)
    assert {"apples": 5} == await ref.call(Counter.add, 1)
    assert 2 == (await otp.get_status(ref)).version


async def test_without_a_code_change_the_attributes_stay() -> None:
    ref = await kb.start(Counter, 3)
    await otp.upgrade(ref, AddsNothing)

    assert 13 == await ref.call(Counter.add, 1)
    await otp.upgrade(ref, Counter)
    assert 14 == await ref.call(Counter.add, 1)


async def test_messages_of_the_old_class_reach_the_new_one_by_name_and_new_ones_are_there() -> None:
    ref: Any = await kb.start(Counter)
    await otp.upgrade(ref, Counter2)

    assert {"apples": 1} == await ref.call(Counter.add, 1)
    assert {"apples": 2} == await ref.call(Counter2.add, 1)
    assert {"apples": 2, "pears": 3} == await ref.call(Counter2.add_pears, 3)
    with pytest.raises(kb.UsageError, match="only_old is not a message of Counter2"):
        await ref.call(Counter.only_old)


async def test_nothing_in_the_mailbox_is_lost_and_its_order_stays() -> None:
    ref: Any = await kb.start(Counter)
    events: list[Any] = []
    kb.listen(events.append)
    await otp.suspend(ref)
    calls = [asyncio.ensure_future(ref.call(Counter.add, number)) for number in (1, 2)]
    gone = asyncio.ensure_future(ref.call(Counter.only_old))
    await asyncio.sleep(0)
    ref.cast(Counter.only_old)
    ref.tell("object")
    await otp.upgrade(ref, Counter2)
    assert "suspended" == kb.info(ref).state
    assert 5 == kb.info(ref).mailbox
    await otp.resume(ref)

    assert [{"apples": 1}, {"apples": 3}] == [await each for each in calls]
    with pytest.raises(
        kb.UsageError, match=r"Counter.only_old is not a message of Counter2, which its actor is now"
    ):
        await gone
    assert [("from", 1), "object"] == (await otp.get_state(ref))["seen"]
    assert ["Counter.only_old"] == [each.message for each in events if isinstance(each, kb.events.Unhandled)]


async def test_senders_that_wait_for_room_are_not_lost_either() -> None:
    async with kb.Supervisor(kb.child(Counter).options(mailbox=1)) as tree:
        ref: Any = tree.ref(Counter, "Counter")
        await otp.suspend(ref)
        ref.cast(Counter.add, 1)
        waiting = [asyncio.ensure_future(ref.send(Counter.add, 10)) for _ in range(2)]
        await asyncio.sleep(0)
        await otp.upgrade(ref, Counter2)
        await otp.resume(ref)
        await asyncio.gather(*waiting)

        assert {"apples": 22} == await ref.call(Counter2.add, 1)


async def test_an_upgrade_waits_for_the_message_in_hand() -> None:
    ref: Any = await kb.start(Counter, 3)
    held = asyncio.ensure_future(ref.call(Counter.hold))
    await asyncio.sleep(0)
    upgraded = asyncio.ensure_future(otp.upgrade(ref, Counter2))
    await asyncio.sleep(0)
    ref.cast(Counter.add, 1)
    assert not upgraded.done()
    ref._cell.actor.gate.set()

    assert 3 == await held
    await upgraded
    assert {"apples": 5} == await ref.call(Counter.add, 1)


def test_an_actor_that_is_busy_for_too_long_is_not_upgraded_later() -> None:
    async def main() -> None:
        ref = await kb.start(Counter, 3)
        held = asyncio.ensure_future(ref.within(None).call(Counter.hold))
        await asyncio.sleep(0)
        with pytest.raises(kb.CallTimeout):
            await otp.upgrade(ref.within(2), Counter2)
        gate: asyncio.Event = ref._cell.actor.gate
        gate.set()
        await held

        assert 4 == await ref.call(Counter.add, 1)

    run_virtual(main)


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (CannotMigrate, "LookupError: no such fruit"),
        (Stops, "Stop: "),
        (NoDict, "code_change returns the new attributes in a dict by name, got None"),
        (Awaits, "so it is a plain def"),
        (OtherLayout, "layout differs"),
        (kb.Supervisor, "a supervisor stays a supervisor"),
    ],
)
@pytest.mark.parametrize("suspended", [False, True])
async def test_a_migration_that_fails_leaves_class_state_mail_and_suspension(
    cls: Any, why: str, suspended: bool
) -> None:
    ref = await kb.start(Counter, 3)
    if suspended:
        await otp.suspend(ref)
    waiting = asyncio.ensure_future(ref.call(Counter.add, 1))
    await asyncio.sleep(0)
    with pytest.raises(otp.UpgradeFailed) as caught:
        await otp.upgrade(ref, cls)
    assert why in str(caught.value)
    assert (ref._cell.label(), "Counter", cls.__qualname__) == (
        caught.value.target,
        caught.value.old,
        caught.value.new,
    )
    status = await otp.get_status(ref)
    assert suspended == status.suspended
    await otp.resume(ref)

    assert 4 == await waiting
    assert {"apples": 4, "gate": None} == await otp.get_state(ref)
    assert 1 == (await otp.get_status(ref)).version


async def test_its_names_ties_and_debug_stay() -> None:
    ref, other = await kb.start(Counter), await kb.start(Counter2)
    kb.register("counter", ref)
    kb.register("other", other)
    await otp.log(ref)
    await otp.statistics(ref, "on")
    await otp.upgrade("counter", Counter2)
    await ref.call(Counter.add, 1)

    assert ref == kb.whereis("counter")
    assert ["Counter2.add"] * 3 == [getattr(each, "message", "") for each in await otp.log(ref, "get")]
    await otp.no_debug(ref)
    assert Counter2._kb_info is ref._cell.info
    assert {"apples": 2} == await ref.call(Counter.add, 1)


async def test_the_callbacks_of_the_new_class_are_called_at_the_end() -> None:
    ref = await kb.start(Counter)
    await otp.upgrade(ref, Counter2)
    actor: Counter2 = ref._cell.actor
    await ref.stop()
    assert "stopped" == actor.seen[-1]

    back: Any = await kb.start(Counter2)
    await otp.upgrade(back, Counter)
    state = vars(back._cell.actor)
    await back.stop()
    assert [] == state["seen"]


@pytest.mark.parametrize("supervisor", [kb.Supervisor, kb.DynamicSupervisor])
async def test_the_supervisor_starts_the_new_class_from_now_on(supervisor: Any) -> None:
    async with supervisor() as tree:
        pid = await tree.start_child(kb.child(Counter, 5).options(id="one"))
        await tree.start_child(kb.child(Counter, 7).options(id="two"))
        ref = tree.ref(Counter, "one")
        await otp.upgrade(pid, Counter2)
        assert {"apples": 6} == await ref.call(Counter.add, 1)
        with pytest.raises(kb.ActorExited):
            await ref.call(Counter2.crash)
        await tree.wait_ready()

        assert {"apples": 6} == await tree.ref(Counter, "one").call(Counter.add, 1)
        assert {"apples": 7} == await tree.ref(Counter2, "one").call(Counter2.add, 1)
        assert 8 == await tree.ref(Counter, "two").call(Counter.add, 1)


async def test_a_class_that_the_spec_could_not_start_is_refused_and_undone() -> None:
    async with kb.Supervisor(kb.child(Counter, 5)) as tree:
        ref = tree.ref(Counter, "Counter")
        with pytest.raises(kb.UsageError, match="arguments that do not fit"):
            await otp.upgrade(ref, OtherArguments)

        assert 6 == await ref.call(Counter.add, 1)
        ref.kill()
        await ref.wait_exit()
        await tree.wait_ready()
        assert 6 == await ref.call(Counter.add, 1)


class Upgrader(kb.Actor):
    """Upgrades others."""

    @kb.message
    async def upgrade(self, ref: kb.ActorRef[Any], cls: type[kb.Actor]) -> None:
        await otp.upgrade(ref, cls)


class Busy(kb.Supervisor):
    """Can be kept from answering."""

    @kb.message
    async def hold(self, entered: asyncio.Event, gate: asyncio.Event) -> None:
        entered.set()
        await gate.wait()


@pytest.mark.parametrize("reason", [kb.Shutdown(), kb.Kill()])
async def test_an_upgrader_that_ends_half_way_leaves_the_actor_as_it_was(reason: kb.ExitReason) -> None:
    entered, gate, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Telling(Counter2):
        def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
            changed.set()
            return super().code_change(old_version, state)

    async with Busy(kb.child(Counter, 5)) as tree:
        ref: Any = tree.ref(Counter, "Counter")
        held = asyncio.ensure_future(tree.me.call(Busy.hold, entered, gate))
        await entered.wait()
        upgrader = await kb.start(Upgrader)
        upgrader.cast(Upgrader.upgrade, ref, Telling)
        await changed.wait()
        assert 2 == (await otp.get_status(ref)).version
        waiting = asyncio.ensure_future(ref.call(Counter.add, 1))
        upgrader.exit(reason)
        gate.set()
        await upgrader.wait_exit()
        await held

        assert 6 == await waiting
        ref.kill()
        await ref.wait_exit()
        await tree.wait_ready()
        assert 6 == await ref.call(Counter.add, 1)


async def test_an_upgrade_that_is_cancelled_while_the_state_is_migrated_is_undone() -> None:
    upgrading: list[asyncio.Task[None]] = []

    class Cancels(Counter2):
        def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
            upgrading[0].cancel()
            return super().code_change(old_version, state)

    ref = await kb.start(Counter, 5)
    upgrading.append(asyncio.ensure_future(otp.upgrade(ref, Cancels)))
    await asyncio.wait(upgrading)

    assert upgrading[0].cancelled()
    assert 6 == await ref.call(Counter.add, 1)
    await otp.upgrade(ref, Counter2)
    assert {"apples": 7} == await ref.call(Counter.add, 1)


@pytest.mark.parametrize("supervised", [False, True])
async def test_an_upgrade_that_is_cancelled_at_any_step_has_happened_or_not(supervised: bool) -> None:
    versions: set[Any] = set()
    async with kb.Supervisor(max_restarts=100) as tree:
        for steps in range(12):
            spec = kb.child(Counter, 5).options(id=steps)
            ref = await (tree.start_child(spec) if supervised else kb.start(Counter, 5))
            upgrading = asyncio.ensure_future(otp.upgrade(ref, Counter2))
            for _ in range(steps):
                await asyncio.sleep(0)
            upgrading.cancel()
            await asyncio.wait([upgrading])
            status = await otp.get_status(ref)
            versions.add(status.version)
            assert not status.suspended
            answer = 6 if status.version == 1 else {"apples": 6}
            assert answer == await ref.call(Counter.add, 1)
            if supervised:
                ref.kill()
                await ref.wait_exit()
                await tree.wait_ready()
                assert answer == await tree.ref(Counter, steps).call(Counter.add, 1)
                await tree.terminate_child(steps)

    assert {1, 2} == versions


async def test_an_upgrade_that_is_cancelled_after_its_supervisor_has_adopted_it_is_undone_there_too() -> None:
    upgrading: list[asyncio.Task[None]] = []

    class Cancels(kb.Supervisor):
        def _extra(self) -> tuple[Any, ...]:
            if upgrading:  # asked for while it looks whether the child's arguments fit
                upgrading.pop().cancel()
            return ()

    async with Cancels(kb.child(Counter, 5)) as tree:
        ref = tree.ref(Counter, "Counter")
        task = asyncio.ensure_future(otp.upgrade(ref, Counter2))
        upgrading.append(task)
        await asyncio.wait([task])
        assert task.cancelled()
        assert 6 == await ref.call(Counter.add, 1)
        ref.kill()
        await ref.wait_exit()
        await tree.wait_ready()

        assert 6 == await ref.call(Counter.add, 1)


def test_a_supervisor_that_does_not_answer_in_time_undoes_the_upgrade() -> None:
    async def main() -> None:
        entered, gate = asyncio.Event(), asyncio.Event()
        async with Busy(kb.child(Counter, 5)) as tree:
            held = asyncio.ensure_future(tree.me.within(None).call(Busy.hold, entered, gate))
            await entered.wait()
            ref = tree.ref(Counter, "Counter")
            with pytest.raises(kb.CallTimeout):
                await otp.upgrade(ref, Counter2)
            assert 6 == await ref.call(Counter.add, 1)
            gate.set()
            await held
            ref.kill()
            await ref.wait_exit()
            await tree.wait_ready()
            assert 6 == await ref.call(Counter.add, 1)

    run_virtual(main)


async def test_two_upgrades_of_one_actor_do_not_mix() -> None:
    ref = await kb.start(Counter)
    done = await asyncio.gather(
        otp.upgrade(ref, AddsNothing), otp.upgrade(ref, AddsNothing), return_exceptions=True
    )

    assert [None, otp.UpgradeFailed] == sorted((each and type(each) for each in done), key=bool)
    assert "another upgrade of it is under way" in str([each for each in done if each])
    assert 10 == await ref.call(Counter.add, 1)
    await otp.upgrade(ref, Counter)
    assert 11 == await ref.call(Counter.add, 1)


async def test_an_actor_whose_upgrade_was_left_half_way_goes_on_when_it_is_resumed() -> None:
    ref = await kb.start(Counter, 5)
    await ask(ref, prepare, "of an upgrader that is gone", Counter2)
    with pytest.raises(otp.UpgradeFailed, match="another upgrade of it is under way"):
        await otp.upgrade(ref, Counter2)
    await otp.resume(ref)
    assert {"apples": 6} == await ref.call(Counter.add, 1)
    await ask(ref, roll_back, "of an upgrader that is gone")  # which comes too late
    assert {"apples": 7} == await ref.call(Counter.add, 1)
    await otp.upgrade(ref, Counter3)

    assert {"apples": 8} == await ref.call(Counter.add, 1)


async def test_a_supervisor_of_ones_own_keeps_its_children() -> None:
    class Tree(kb.Supervisor):
        def __init__(self) -> None:
            super().__init__(kb.child(Counter, 1))
            self.mine = 1

    class Tree2(kb.Supervisor):
        def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
            return {"mine": state, "more": True}

        @kb.message
        def ours(self) -> Any:
            return self.__dict__["mine"], self.__dict__["more"]

    async with kb.Supervisor(kb.child(Counter)) as plain:
        assert {} == plain._kb_attributes()
    async with Tree() as tree:
        ref: Any = tree.me
        await otp.upgrade(ref, Tree2)

        assert ({"mine": 1}, True) == await ref.call(Tree2.ours)
        assert 2 == await tree.ref(Counter, "Counter").call(Counter.add, 1)
        assert {"Counter": "running"} == await otp.get_state(ref)


async def test_what_is_no_actor_or_no_actor_class_is_refused() -> None:
    async def body() -> None:
        await kb.receive()

    ref, process = await kb.start(Counter), kb.spawn(body)
    nonsense: Any = dict
    with pytest.raises(kb.UsageError, match=r"expected a subclass of kb.Actor"):
        await otp.upgrade(ref, nonsense)
    with pytest.raises(kb.UsageError, match="is a bare process"):
        await otp.upgrade(process, Counter)
    process.kill()
    ref.kill()
    await ref.wait_exit()
    with pytest.raises(kb.NotRunning):
        await otp.upgrade(ref, Counter)


def test_the_error_survives_pickling() -> None:
    error = otp.UpgradeFailed("Counter#1", "it would not", old="Counter", new="Counter2")
    error.__cause__ = ValueError("x")
    again = pickle.loads(pickle.dumps(error))

    assert (str(error), "Counter#1", "Counter", "Counter2", "it would not") == (
        str(again),
        again.target,
        again.old,
        again.new,
        again.why,
    )
    assert isinstance(again.__cause__, ValueError)


async def test_an_error_names_the_upgrade_and_no_step_of_it() -> None:
    with pytest.raises(kb.NotRunning, match="so upgrade was not delivered"):
        await kb.upgrade("nobody has this name", Counter2)
