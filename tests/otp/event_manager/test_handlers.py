"""Handlers of an event manager: added, deleted, swapped, called, and removed alone when they fail."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.otp.event_manager.handlers import Keeps, Mute, NoStart, NoStop, Other, Slow
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp

NORMAL = kb.Normal()


async def started(*specs: otp.HandlerSpec[Any]) -> otp.EventManagerHandle:
    manager = otp.event_manager(await kb.start(otp.EventManager))
    for spec in specs:
        await manager.add_handler(spec)
    return manager


async def test_each_handler_gets_each_event_in_the_order_in_which_they_were_added() -> None:
    order: list[Any] = []

    class Orderly(otp.EventHandler):
        def __init__(self, name: str) -> None:
            self.name = name

        def on_event(self, event: Any) -> None:
            order.append((self.name, event))

    manager = await started(*(otp.handler(Orderly, name).options(id=name) for name in "abc"))
    manager.notify(1)
    await manager.sync_notify(2)

    assert [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)] == order
    assert ["a", "b", "c"] == await manager.which_handlers()


async def test_a_handler_is_known_by_its_class_unless_it_has_an_id() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Keeps, 1).options(id=("keeps", 2)))

    assert ["Keeps", ("keeps", 2)] == await manager.which_handlers()
    assert [] == await manager.call("Keeps", "heard")
    assert [1] == await manager.call(("keeps", 2), "heard")
    with pytest.raises(otp.HandlerPresent, match="has a handler 'Keeps' already") as caught:
        await manager.add_handler(otp.handler(Keeps))
    assert ("EventManager#1", "Keeps") == (caught.value.manager, caught.value.handler)


async def test_who_asks_for_a_handler_that_failed_is_told_how_it_failed() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    await manager.sync_notify("fail")
    with pytest.raises(otp.HandlerNotFound) as caught:
        await manager.call("Keeps", "heard")

    assert (
        "EventManager#1 has no handler 'Keeps': it failed in on_event, with ValueError: bad event, and was "
        "removed; `add_handler` adds a new one; its handlers are: 'Mute'"
    ) == str(caught.value)


async def test_only_the_last_failure_counts_and_one_that_was_added_again_has_none() -> None:
    manager = await started(otp.handler(Keeps))
    await manager.sync_notify("fail")
    await manager.add_handler(otp.handler(Keeps))
    assert await manager.delete_handler("Keeps") is not None
    for id in ("Keeps", ([],)):  # type: ignore[var-annotated]
        with pytest.raises(otp.HandlerNotFound) as caught:
            await manager.call(id, "heard")

        assert "failed" not in str(caught.value)


async def test_a_manager_remembers_a_hundred_failures_and_not_those_before() -> None:
    manager = await started()
    for number in range(102):
        await manager.add_handler(otp.handler(Keeps).options(id=number))
        await manager.sync_notify("fail")
    told: list[bool] = []
    for number in (0, 1, 2, 101):
        with pytest.raises(otp.HandlerNotFound) as caught:
            await manager.call(number, "heard")
        told.append("bad event" in str(caught.value))

    assert [False, False, True, True] == told


async def test_sync_notify_returns_when_all_handlers_are_done() -> None:
    manager = await started(otp.handler(Slow), otp.handler(Keeps))
    await manager.sync_notify(1)

    assert ["started", 1] == await manager.call("Slow", "heard")
    assert [1] == await manager.call("Keeps", "heard")


async def test_a_deleted_handler_is_stopped_with_the_reason_and_its_last_word_is_returned() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Slow))

    assert [("stopped", "why")] == await manager.delete_handler("Keeps", "why")
    assert "slowly" == await manager.delete_handler("Slow")
    assert [] == await manager.which_handlers()
    for unknown in ("Keeps", []):  # type: ignore[var-annotated]
        with pytest.raises(otp.HandlerNotFound, match="its handlers are: none"):
            await manager.delete_handler(unknown)


async def test_a_call_to_a_handler_that_is_not_there_or_takes_none_is_the_callers_error() -> None:
    manager = await started(otp.handler(Mute))
    with pytest.raises(otp.HandlerNotFound, match="has no handler 'Keeps'; its handlers are: 'Mute'"):
        await manager.call("Keeps", 1)
    with pytest.raises(kb.UsageError, match="the handler 'Mute' has no on_call and was asked 1"):
        await manager.call("Mute", 1)

    assert ["Mute"] == await manager.which_handlers()


async def test_a_handler_can_remove_itself_in_an_event_and_in_a_call() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Other))
    await manager.sync_notify("leave")
    assert [] == await manager.which_handlers()

    await manager.add_handler(otp.handler(Keeps))
    assert "gone" == await manager.call("Keeps", "leave")
    assert [] == await manager.which_handlers()


async def test_a_handler_can_swap_itself() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    await manager.sync_notify("swap")
    await manager.sync_notify("after")

    assert ["Other", "Mute"] == await manager.which_handlers()
    assert ["swap", ("stopped", NORMAL), "after"] == await manager.call("Other", "heard")


async def test_a_swap_hands_the_state_over_and_keeps_the_place() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    manager.notify(1)
    await manager.swap_handler("Keeps", otp.handler(Other, 0), "better")
    manager.notify(2)

    assert ["Other", "Mute"] == await manager.which_handlers()
    assert [0, 1, ("stopped", "better"), 2] == await manager.call("Other", "heard")
    await manager.swap_handler("Other", otp.handler(Other))  # also for one of the same id
    assert [0, 1, ("stopped", "better"), 2, ("stopped", NORMAL)] == await manager.call("Other", "heard")


async def test_a_swap_for_one_that_is_not_there_adds_the_new_one_without_a_state() -> None:
    manager = await started(otp.handler(Keeps))
    await manager.swap_handler("nobody", otp.handler(Other))
    assert ["Keeps", "Other"] == await manager.which_handlers()
    assert [] == await manager.call("Other", "heard")

    with pytest.raises(otp.HandlerPresent):
        await manager.swap_handler("Keeps", otp.handler(Other))
    assert ["Keeps", "Other"] == await manager.which_handlers()


async def test_a_swap_whose_new_handler_fails_leaves_neither() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    with pytest.raises(otp.HandlerFailed, match="failed in on_start and is gone: LookupError"):
        await manager.swap_handler("Keeps", otp.handler(NoStart, "on_start"))

    assert ["Mute"] == await manager.which_handlers()


async def test_a_handler_that_swaps_to_the_id_of_a_third_has_failed_and_the_third_stays() -> None:
    third = otp.handler(Keeps, "third").options(id="Other")
    manager = await started(third, otp.handler(Mute), otp.handler(Keeps))
    await manager.sync_notify("swap")

    assert ["third", "swap"] == (await manager.call("Other", "heard"))[:2]
    assert "Keeps" not in await manager.which_handlers()
    assert 1 <= (await manager.statistics()).failed


async def test_a_swap_of_an_id_that_can_be_nobodys_adds_the_new_one() -> None:
    manager = await started()
    await manager.swap_handler([], otp.handler(Keeps))

    assert ["Keeps"] == await manager.which_handlers()


async def test_a_swap_whose_old_handler_fails_at_its_end_goes_on_without_its_state() -> None:
    manager = await started(otp.handler(NoStop))
    await manager.sync_notify(1)
    await manager.swap_handler("NoStop", otp.handler(Other))

    assert ["Other"] == await manager.which_handlers()
    assert [] == await manager.call("Other", "heard")


@pytest.mark.parametrize("where", ["__init__", "on_start"])
async def test_a_handler_that_cannot_start_is_its_adders_error(where: str) -> None:
    manager = await started(otp.handler(Mute))
    with pytest.raises(otp.HandlerFailed) as caught:
        await manager.add_handler(otp.handler(NoStart, where))

    assert ("NoStart", where) == (caught.value.handler, caught.value.callback)
    assert isinstance(caught.value.__cause__, LookupError)
    assert ["Mute"] == await manager.which_handlers()


@pytest.mark.parametrize(
    ("event", "error"), [("fail", ValueError), ("cancel", asyncio.CancelledError), ("exit", SystemExit)]
)
async def test_a_handler_that_fails_is_removed_alone_with_a_report(event: str, error: type) -> None:
    events: list[Any] = []
    kb.listen(events.append)
    manager = await started(otp.handler(Keeps, "first"), otp.handler(Slow), otp.handler(Mute))
    await manager.sync_notify(event)
    await manager.sync_notify("after")

    assert ["Slow", "Mute"] == await manager.which_handlers()
    assert ["started", event, "after"] == await manager.call("Slow", "heard")
    (report,) = [each for each in events if isinstance(each, otp.HandlerCrashed)]
    assert ("EventManager#1", "'Keeps'", "on_event", repr(event), "{'heard': 2}") == (
        report.process,
        report.handler,
        report.callback,
        report.event,
        report.state,
    )
    assert error is type(report.error)
    assert otp.EventManagerStatistics(handlers=2, events=2, calls=1, failed=1) == await manager.statistics()


async def test_a_handler_that_raises_stop_is_removed_without_a_report() -> None:
    events: list[Any] = []
    kb.listen(events.append)
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    await manager.sync_notify("stop")

    assert ["Mute"] == await manager.which_handlers()
    assert [] == [each for each in events if isinstance(each, otp.HandlerCrashed)]


async def test_a_handler_that_fails_in_a_call_is_removed_and_its_caller_is_told() -> None:
    manager = await started(otp.handler(Keeps), otp.handler(Mute))
    with pytest.raises(otp.HandlerFailed, match=r"'Keeps' of EventManager#1 failed in on_call.*bad request"):
        await manager.call("Keeps", "fail")

    assert ["Mute"] == await manager.which_handlers()


async def test_a_handler_that_fails_at_its_end_is_gone_and_its_deleter_is_told() -> None:
    manager = await started(otp.handler(NoStop))
    with pytest.raises(otp.HandlerFailed, match=r"failed in on_stop.*stuck"):
        await manager.delete_handler("NoStop")

    assert [] == await manager.which_handlers()


async def test_objects_reach_the_handlers_as_info() -> None:
    manager = await started(otp.handler(Keeps))
    manager.ref.tell("object")

    assert [("info", "object")] == await manager.call("Keeps", "heard")


async def test_handlers_that_the_manager_starts_with_are_there_after_a_restart() -> None:
    spec = kb.child(otp.EventManager, [otp.handler(Keeps), otp.handler(Mute)]).options(name="bus")
    async with kb.Supervisor(spec) as tree:
        bus = otp.event_manager("bus")
        await bus.add_handler(otp.handler(Other))
        assert ["Keeps", "Mute", "Other"] == await bus.which_handlers()
        tree.ref(otp.EventManager, "EventManager").kill()
        await tree.wait_ready()

        assert ["Keeps", "Mute"] == await bus.which_handlers()


async def test_the_end_of_the_manager_is_the_end_of_its_handlers() -> None:
    ends: list[Any] = []

    class Ends(otp.EventHandler):
        def on_stop(self, reason: Any) -> None:
            ends.append(reason)

    manager = await started(otp.handler(Ends))
    await manager.stop()
    other = await started(otp.handler(Ends), otp.handler(NoStop))
    await other.ref.stop(kb.Shutdown("now"))

    assert [NORMAL, kb.Shutdown("now")] == ends


def test_a_manager_that_is_killed_in_a_handler_ends() -> None:
    class Stuck(otp.EventHandler):
        async def on_event(self, event: Any) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        manager = await started(otp.handler(Stuck))
        waiting = asyncio.ensure_future(manager.sync_notify(1))
        await asyncio.sleep(0)
        manager.ref.kill()
        with pytest.raises(kb.ActorExited):
            await waiting

        assert kb.Killed() == await manager.ref.wait_exit()

    run_virtual(main)


async def test_the_state_of_a_manager_is_that_of_its_handlers() -> None:
    manager = await started(otp.handler(Keeps, 1), otp.handler(Mute))
    expected = {"Keeps": {"heard": [1], "secret": "1234"}, "Mute": {}}

    assert expected == await otp.get_state(manager.ref)
    assert {"Keeps": {"heard": 1}, "Mute": {}} == (await otp.get_status(manager.ref)).state
    await otp.replace_state(manager.ref, lambda state: state | {"Keeps": {"heard": [7]}})
    assert [7] == await manager.call("Keeps", "heard")
    for wrong in ({}, {"Keeps": 1, "Mute": {}}):
        with pytest.raises(kb.UsageError, match=r"the state of"):
            await otp.replace_state(manager.ref, lambda _, wrong=wrong: wrong)  # type: ignore[misc]
    assert [7] == await manager.call("Keeps", "heard")


async def test_mistakes_are_refused_where_they_are_made() -> None:
    manager = await started()
    nonsense: Any = Keeps
    with pytest.raises(kb.UsageError, match=r"expected otp.handler.Name, ...., got"):
        await manager.add_handler(nonsense)
    with pytest.raises(kb.UsageError, match=r"expected otp.handler"):
        await manager.swap_handler("a", nonsense)
    with pytest.raises(kb.UsageError, match=r"expected otp.handler"):
        await manager.ref.call(otp.EventManager.add_handler, nonsense)
    wrong: Any = dict
    with pytest.raises(kb.UsageError, match=r"a handler is a subclass of otp.EventHandler"):
        otp.handler(wrong)
    with pytest.raises(kb.UsageError, match="an id must be hashable"):
        otp.handler(Keeps).options(id=[])
    with pytest.raises(kb.UsageError, match="two handlers have the id 'Keeps'"):
        otp.EventManager([otp.handler(Keeps), otp.handler(Keeps)])
    with pytest.raises(kb.NotInProcess, match="is installed in no event manager"):
        _ = Keeps().manager
    other: Any = await kb.start(otp.Agent, int)
    with pytest.raises(kb.UsageError, match="leads to a Agent, and this is for actors of EventManager"):
        otp.event_manager(other)
    with pytest.raises(kb.NotInProcess):
        await manager.add_supervised_handler(otp.handler(Keeps))

    assert [] == await manager.which_handlers()


async def test_what_can_be_printed_and_compared() -> None:
    manager = await started(otp.handler(Keeps))

    assert "<EventManager EventManager#1, 1 handlers>" == repr(manager.ref._cell.actor)
    assert "<EventManager not started, 0 handlers>" == repr(otp.EventManager())
    assert f"<EventManagerHandle of {manager.ref!r}>" == repr(manager)
    assert manager == manager.within(3)
    assert 1 == len({manager, manager.within(3)})


def test_the_errors_survive_pickling() -> None:
    failed = otp.HandlerFailed("bus", "h", "on_event", ValueError("x"))
    for error in (otp.HandlerNotFound("bus", "h", ("a",)), otp.HandlerPresent("bus", "h"), failed):
        again = pickle.loads(pickle.dumps(error))
        assert (str(error), vars(error)) == (str(again), vars(again))
        assert isinstance(error, otp.HandlerError)
    again = pickle.loads(pickle.dumps(failed))

    assert ("on_event", "x") == (again.callback, str(again.__cause__))
