"""A name may be anybody's: a handle on the wrong actor, or on nobody, says what was expected there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import koboshi as kb
from koboshi import otp

Use = Callable[[Any], Awaitable[Any]]


class Worker(kb.Actor):
    """Nobody's copy."""


async def noop() -> None:
    """What a task would do."""


USES: dict[str, Use] = {
    "Registry": lambda where: otp.registry(where).lookup("x"),
    "Groups": lambda where: otp.groups(where).members("x"),
    "PubSub": lambda where: otp.pubsub(where).broadcast("x", 1),
    "PartitionSupervisor": lambda where: otp.partitions(where, Worker).ref("x"),
    "TaskSupervisor": lambda where: otp.tasks(where).task_nolink(noop),
    "CheckoutPool": lambda where: otp.checkout_pool(where, Worker).status(),
}


@pytest.mark.parametrize("expected", USES)
async def test_a_handle_on_a_name_of_another_actor_says_which_class_was_expected(expected: str) -> None:
    async with kb.Supervisor(kb.child(otp.EventManager).options(name="bus")):
        with pytest.raises(kb.UsageError) as caught:
            await USES[expected]("bus")

    assert (
        f"<ActorRef name 'bus' idle> leads to an actor of EventManager, and one of {expected} was expected"
    ) == str(caught.value)


@pytest.mark.parametrize("expected", USES)
async def test_a_handle_on_a_name_of_nobody_says_how_one_gets_it(expected: str) -> None:
    with pytest.raises(kb.NotRunning) as caught:
        await USES[expected]("nope")

    assert str(caught.value).startswith("nobody has the name 'nope', so ")
    assert ".options(name='nope')" in str(caught.value)
    assert "PartitionSupervisor.find" not in str(caught.value)


async def test_a_plain_dynamic_supervisor_is_no_task_supervisor() -> None:
    async with kb.Supervisor(kb.child(kb.DynamicSupervisor).options(name="plain")):
        with pytest.raises(kb.UsageError, match="one of TaskSupervisor was expected"):
            await otp.tasks("plain").task_nolink(noop)


async def test_a_key_as_a_name_is_refused_where_no_registry_is() -> None:
    name = otp.registry("bus").name("lobby")
    async with kb.Supervisor(kb.child(otp.EventManager).options(name="bus")) as tree:
        with pytest.raises(kb.StartError, match="one of Registry was expected"):
            await tree.start_child(kb.child(Worker).options(name=name))


async def test_messages_of_an_agent_are_called_the_agent_s() -> None:
    with pytest.raises(kb.NotRunning, match=r"so Agent\.get was not delivered"):
        await otp.agent("nope").get(len)


async def test_what_is_no_ref_is_refused_by_a_group() -> None:
    async with kb.Supervisor(kb.child(otp.Groups).options(name="teams")):
        with pytest.raises(
            kb.UsageError, match="join takes refs of processes behind the group, got 'worker'"
        ):
            await otp.groups("teams").join("g", "worker")  # type: ignore[arg-type]


async def test_the_main_script_is_no_module_to_be_upgraded() -> None:
    with pytest.raises(kb.UsageError, match="put the classes into a module"):
        await otp.upgrade_module("__main__")
