"""Agents: a value, functions over it, one at a time."""

from __future__ import annotations

import asyncio
import inspect
import operator
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi.wire import NotPicklable


def put(value: dict[str, int], key: str, number: int) -> dict[str, int]:
    return value | {key: number}


def pop(value: dict[str, int], key: str) -> tuple[int, dict[str, int]]:
    rest = dict(value)
    return rest.pop(key), rest


def where(value: object) -> int:
    import os

    return os.getpid()


def boom(value: object) -> Any:
    raise ValueError("boom")


async def test_functions_read_and_change_the_value_in_the_agent() -> None:
    ref = await kb.start(otp.Agent, dict)
    agent: otp.AgentHandle[dict[str, int]] = otp.agent(ref)
    await agent.update(put, "a", 1)
    agent.cast(put, "b", 2)

    assert {"a": 1, "b": 2} == await agent.get(dict)
    assert 2 == await agent.get_and_update(pop, "b")
    assert 1 == await agent.get(len)
    assert 5 == await agent.get(lambda value, more: value["a"] + more, more=4)
    assert ref == await agent.get(lambda _: kb.me())
    assert otp.AgentStatistics(reads=4, updates=3) == await agent.statistics()


async def test_the_first_value_is_made_in_the_agent_with_its_arguments() -> None:
    ref = await kb.start(otp.Agent, dict, a=1)
    made: list[Any] = []

    assert {"a": 1} == await otp.agent(ref).get(dict)
    other = await kb.start(otp.Agent, lambda *args: made.append(kb.me()) or args, 1, 2)  # type: ignore[func-returns-value]
    assert (1, 2) == await otp.agent(other).get(tuple)
    assert [other] == made
    with pytest.raises(kb.StartError):
        await kb.start(otp.Agent, operator.truediv, 1, 0)


async def test_an_agent_has_messages_as_any_actor() -> None:
    ref = await kb.start(otp.Agent, int, 3)
    await ref.call(otp.Agent.update, operator.add, 4)

    assert 70 == await ref.call(otp.Agent.get, operator.mul, 10)
    assert 7 == await ref.call(otp.Agent.get_and_update, lambda value: (value, 0))
    assert 0 == await ref.call(otp.Agent.get, int)


async def test_updates_of_many_callers_are_none_lost() -> None:
    agent = otp.agent(await kb.start(otp.Agent, int))
    await asyncio.gather(*(agent.update(operator.add, 1) for _ in range(100)))

    assert 100 == await agent.get(int)


async def test_a_function_that_raises_ends_the_agent_and_its_sender_is_told() -> None:
    async with kb.Supervisor(kb.child(otp.Agent, int, 3).options(name="number")) as tree:
        agent = otp.agent("number")
        await agent.update(operator.add, 1)
        for failing in (agent.get(boom), agent.get_and_update(lambda _: 5)):  # type: ignore[arg-type, return-value]
            with pytest.raises(kb.ActorExited) as caught:
                await failing
            assert isinstance(caught.value.reason, kb.Crashed)
            await tree.wait_ready()
            assert 3 == await agent.get(int)
        assert "reply, next value" in str(caught.value.reason.error)  # type: ignore[attr-defined]


async def test_what_is_no_plain_function_is_refused_where_it_is_sent() -> None:
    agent: Any = otp.agent(await kb.start(otp.Agent, int))

    async def coroutine(value: int) -> int:
        return value

    for fn in (coroutine, 5):
        for ask in (agent.get, agent.update, agent.get_and_update):
            with pytest.raises(kb.UsageError, match="an agent runs plain functions of its value, got"):
                await ask(fn)
        with pytest.raises(kb.UsageError, match="an agent runs plain functions"):
            agent.cast(fn)
    with pytest.raises(kb.StartError):
        await kb.start(otp.Agent, coroutine)

    assert 0 == await agent.get(int)


async def test_a_plain_function_that_returns_a_coroutine_is_refused_and_the_coroutine_closed() -> None:
    made: list[Any] = []

    async def nobody_awaits() -> int:
        return 1

    def make(*_: Any) -> Any:
        made.append(nobody_awaits())
        return made[-1]

    for ask in ("update", "get_and_update"):
        agent: Any = otp.agent(await kb.start(otp.Agent, int))
        fn = make if ask == "update" else lambda value: ("reply", make())
        with pytest.raises(kb.ActorExited) as caught:
            await getattr(agent, ask)(fn)
        assert isinstance(caught.value.reason, kb.Crashed)
        assert "returned a coroutine" in str(caught.value.reason.error)
    with pytest.raises(kb.StartError, match="returned a coroutine"):
        await kb.start(otp.Agent, make)

    assert ["CORO_CLOSED"] * 3 == [inspect.getcoroutinestate(each) for each in made]


def test_a_call_has_a_deadline() -> None:
    async def main() -> None:
        ref = await kb.start(otp.Agent, int)
        ref.suspend()
        with pytest.raises(kb.CallTimeout):
            await otp.agent(ref).within(2).get(int)
        ref.resume()

        assert 0 == await otp.agent(ref).get(int)

    run_virtual(main)


async def test_stop_ends_it_after_what_was_sent_before() -> None:
    ref = await kb.start(otp.Agent, int)
    agent, seen = otp.agent(ref), list[int]()
    agent.cast(lambda value: seen.append(value) or 1)  # type: ignore[func-returns-value]
    agent.cast(lambda value: seen.append(value) or 2)  # type: ignore[func-returns-value]
    await agent.stop()

    assert [0, 1] == seen
    assert not ref.alive
    with pytest.raises(kb.NotRunning):
        await agent.get(int)


async def test_its_state_is_its_value_to_those_who_look() -> None:
    ref = await kb.start(otp.Agent, int, 3)

    assert 3 == await otp.get_state(ref)
    assert 5 == await otp.replace_state(ref, lambda value: value + 2)
    assert 5 == (await otp.get_status(ref)).state
    assert 5 == await otp.agent(ref).get(int)


async def test_handles_are_compared_by_their_agents_and_print() -> None:
    ref = await kb.start(otp.Agent, int)
    other = await kb.start(kb.Supervisor)

    assert otp.agent(ref) == otp.agent(ref).within(1)
    assert 1 == len({otp.agent(ref), otp.agent(ref)})
    assert otp.agent(ref).ref is ref
    assert f"<AgentHandle of {ref!r}>" == repr(otp.agent(ref))
    assert "<Agent Agent#1>" == repr(ref._cell.actor)
    assert "<Agent not started>" == repr(otp.Agent(int))
    wrong: Any = other
    with pytest.raises(kb.UsageError, match="leads to a Supervisor, and this is for actors of Agent"):
        otp.agent(wrong)
    await other.stop()


@pytest.mark.slow
async def test_an_agent_on_another_node_runs_functions_by_name() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(otp.Agent, dict).options(on="n1", id="far")) as tree:
        agent = otp.agent(tree.ref(otp.Agent, "far"))
        await agent.update(put, "a", 1)
        agent.cast(put, "b", 2)

        assert 2 == await agent.get_and_update(pop, "b")
        assert {"a": 1} == await agent.get(dict)
        assert where(None) != await agent.get(where)
        key = "a"
        with pytest.raises(NotPicklable, match="argument 1"):
            await agent.get(lambda value: value[key])
        with pytest.raises(NotPicklable, match="argument 1"):
            agent.cast(lambda value: value)
        with pytest.raises(kb.ActorExited):
            await agent.get(boom)
        await tree.wait_ready()
        assert {} == await agent.get(dict)
