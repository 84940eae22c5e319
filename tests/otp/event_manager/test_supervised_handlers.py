"""Handlers that a process supervises: it is told of their end, and its end is theirs; also on other nodes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from tests.otp.event_manager.handlers import Keeps, Mute, NoStart, NoStop, Other, Owner

import koboshi as kb
from koboshi import otp

NORMAL = kb.Normal()


class Tree:
    """A manager and a process that supervises handlers of it."""

    manager: otp.EventManagerHandle
    owner: kb.ActorRef[Owner]


@pytest.fixture
async def made() -> Tree:
    tree = Tree()
    tree.manager = otp.event_manager(await kb.start(otp.EventManager))
    tree.owner = await kb.start(Owner, tree.manager)
    await tree.owner.call(Owner.add, otp.handler(Keeps))
    return tree


async def test_each_way_for_a_handler_to_go_is_told_with_its_reason(made: Tree) -> None:
    manager, owner = made.manager, made.owner
    await manager.delete_handler("Keeps", "why")
    await owner.call(Owner.add, otp.handler(Keeps))
    await manager.sync_notify("leave")
    await owner.call(Owner.add, otp.handler(Keeps))
    await manager.sync_notify("fail")
    await owner.call(Owner.add, otp.handler(NoStop))
    with pytest.raises(otp.HandlerFailed):
        await manager.delete_handler("NoStop")
    await owner.call(Owner.add, otp.handler(Keeps))
    await manager.sync_notify("stop")

    told = await owner.call(Owner.all_told, 5)
    assert [("Keeps", NORMAL, None), ("Keeps", NORMAL, None)] == told[:2]
    assert ("Keeps", "ValueError('bad event')") == (told[2][0], repr(told[2][1].error))
    assert ("NoStop", "OSError('stuck')") == (told[3][0], repr(told[3][1].error))
    assert ("Keeps", kb.Exited("enough"), None) == told[4]


async def test_the_end_of_the_owner_is_the_end_of_its_handlers_and_of_no_others(made: Tree) -> None:
    manager = made.manager
    await manager.add_handler(otp.handler(Other))
    await made.owner.call(Owner.add, otp.handler(Mute))
    made.owner.exit(kb.Shutdown("over"))
    await made.owner.wait_exit()

    assert ["Other"] == await manager.which_handlers()
    assert [] == await manager.call("Other", "heard")


async def test_a_normal_end_of_the_owner_is_one_too(made: Tree) -> None:
    await made.owner.stop()

    assert [] == await made.manager.which_handlers()


async def test_the_orderly_end_of_the_manager_is_told_and_harms_no_owner(made: Tree) -> None:
    await made.manager.ref.stop(kb.Shutdown("over"))

    assert [("Keeps", kb.Shutdown(), None)] == await made.owner.call(Owner.all_told, 1)
    assert made.owner.alive


async def test_a_manager_that_is_killed_takes_an_owner_along_that_does_not_trap_exits(made: Tree) -> None:
    trapping = await kb.start(Owner, made.manager, traps=True)
    await trapping.call(Owner.add, otp.handler(Mute))
    made.manager.ref.kill()

    assert kb.Killed() == await made.owner.wait_exit()
    assert [kb.Exit(made.manager.ref, kb.Killed())] == await trapping.call(Owner.all_told, 1)


async def test_an_exit_signal_of_a_stranger_is_reported_and_costs_no_handler(made: Tree) -> None:
    events: list[Any] = []
    kb.listen(events.append)
    made.manager.ref.exit(kb.Shutdown("not yours"))

    assert ["Keeps"] == await made.manager.which_handlers()
    assert [] == await made.manager.call("Keeps", "heard")
    assert 1 == len([each for each in events if isinstance(each, kb.events.Unhandled)])


async def test_an_owner_without_handlers_is_tied_no_more(made: Tree) -> None:
    await made.owner.call(Owner.add, otp.handler(Mute))
    await made.manager.delete_handler("Keeps")
    assert 1 == kb.info(made.owner).links
    await made.manager.delete_handler("Mute")

    assert 0 == kb.info(made.owner).links
    made.manager.ref.kill()
    await made.manager.ref.wait_exit()
    assert made.owner.alive


async def test_a_swap_is_told_and_the_new_handler_is_supervised_as_the_old_one_was(made: Tree) -> None:
    await made.manager.swap_handler("Keeps", otp.handler(Other))
    assert [("Keeps", NORMAL, "Other")] == await made.owner.call(Owner.all_told, 1)
    await made.manager.delete_handler("Other")
    assert [("Other", NORMAL, None)] == (await made.owner.call(Owner.all_told, 2))[1:]

    assert 0 == kb.info(made.owner).links


async def test_a_swap_by_another_owner_moves_the_supervision(made: Tree) -> None:
    second = await kb.start(Owner, made.manager)
    await second.call(Owner.swap, "Keeps", otp.handler(Other))
    assert [("Keeps", NORMAL, "Other")] == await made.owner.call(Owner.all_told, 1)
    assert (0, 1) == (kb.info(made.owner).links, kb.info(second).links)
    made.owner.kill()
    await made.owner.wait_exit()
    assert ["Other"] == await made.manager.which_handlers()
    second.kill()
    await second.wait_exit()

    assert [] == await made.manager.which_handlers()


async def test_a_swap_that_fails_is_told_as_the_end_of_the_new_one(made: Tree) -> None:
    with pytest.raises(otp.HandlerFailed):
        await made.manager.swap_handler("Keeps", otp.handler(NoStart, "on_start"))
    told = await made.owner.call(Owner.all_told, 2)

    assert ("Keeps", NORMAL, "NoStart") == told[0]
    assert ("NoStart", "LookupError('on_start')") == (told[1][0], repr(told[1][1].error))
    assert 0 == kb.info(made.owner).links


async def test_no_mailbox_of_an_owner_is_too_full_to_be_told() -> None:
    manager = otp.event_manager(await kb.start(otp.EventManager))
    async with kb.Supervisor(kb.child(Owner, manager).options(mailbox=1)) as tree:
        owner = tree.ref(Owner, "Owner")
        await owner.call(Owner.add, otp.handler(Keeps))
        owner.suspend()
        owner.tell("filler")
        await manager.delete_handler("Keeps")
        owner.resume()
        await otp.get_state(owner)

        assert ["filler", ("Keeps", NORMAL, None)] == await owner.call(Owner.all_told, 2)


@pytest.mark.slow
async def test_managers_handlers_and_owners_may_be_on_different_nodes() -> None:
    async with kb.Supervisor(
        kb.node("n1"),
        kb.node("n2"),
        kb.child(otp.EventManager, [otp.handler(Keeps)]).options(name="bus", on="n1"),
    ) as tree:
        bus = otp.event_manager("bus")
        crashed: list[str] = []
        both = asyncio.Event()

        def hear(event: kb.events.Event) -> None:
            if isinstance(event, otp.HandlerCrashed):
                crashed.append(event.handler)
                if len(crashed) == 2:
                    both.set()

        stop = kb.listen(hear)
        owner = await tree.start_child(kb.child(Owner, bus).options(id="owner", on="n2", restart="temporary"))
        await owner.call(Owner.add, otp.handler(Other, 0))
        bus.notify(1)
        await bus.sync_notify(2)
        assert [1, 2] == await bus.call("Keeps", "heard")
        assert [0, 1, 2] == await bus.call("Other", "heard")
        await bus.sync_notify("fail")
        told = await owner.call(Owner.all_told, 1)
        assert ("Other", "ValueError('bad event')") == (told[0][0], repr(told[0][1].error))
        assert [] == await bus.which_handlers()
        with pytest.raises(otp.HandlerNotFound, match="has no handler 'Keeps'"):
            await bus.call("Keeps", "heard")
        async with asyncio.timeout(5):
            await both.wait()
        assert ["'Keeps'", "'Other'"] == crashed

        await owner.call(Owner.add, otp.handler(Mute))
        os.kill(await owner.call(Owner.pid), signal.SIGKILL)
        assert isinstance(await owner.wait_exit(5), kb.NoConnection)
        async with asyncio.timeout(5):
            while await bus.which_handlers():  # the root hears of it before the node of the manager does
                pass
        stop()
