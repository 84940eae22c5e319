"""Agents, introspection and event managers, in which both checkers must know each type exactly."""

from __future__ import annotations

from typing import Any, assert_type

import koboshi as kb
from koboshi import otp


def put(value: dict[str, int], key: str, number: int) -> dict[str, int]:
    return value | {key: number}


def pop(value: dict[str, int], key: str) -> tuple[int, dict[str, int]]:
    rest = dict(value)
    return rest.pop(key), rest


def empty() -> dict[str, int]:
    return {}


class Alarm(otp.EventHandler):
    def __init__(self, level: int) -> None:
        self.level = level

    def on_event(self, event: Any) -> None:
        if event == self.level:
            self.remove()


class Counter(kb.Actor):
    @kb.message
    def add(self, count: int) -> int:
        return count

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        return state


async def agents(ref: kb.ActorRef[otp.Agent[dict[str, int]]]) -> None:
    agent = otp.agent(ref)
    assert_type(agent, otp.AgentHandle[dict[str, int]])
    assert_type(await agent.get(len), int)
    assert_type(await agent.get_and_update(pop, "a"), int)
    await agent.update(put, "a", 1)
    agent.within(3).cast(put, "a", number=1)
    started = await kb.start(otp.Agent, empty)
    assert_type(await otp.agent(started).statistics(), otp.AgentStatistics)
    kb.child(otp.Agent, put, {}, "a", 1).options(name="numbers")
    assert_type(otp.agent("numbers"), otp.AgentHandle[Any])


async def looks(ref: kb.ActorRef[Counter]) -> None:
    assert_type(await otp.get_status(ref), otp.ActorStatus)
    assert_type(await otp.log(ref, "get"), list[otp.TraceEvent])
    assert_type(await otp.statistics(ref), otp.ActorStatistics | None)
    await otp.log(ref, size=3)
    await otp.statistics(ref, "on")
    await otp.trace("counter", to=ref)
    await otp.suspend(("counter", 1))
    await kb.upgrade(ref, Counter)


async def events(manager: kb.ActorRef[otp.EventManager]) -> None:
    bus = otp.event_manager(manager)
    spec = otp.handler(Alarm, level=3).options(id="alarm")
    assert_type(spec, otp.HandlerSpec[Alarm])
    await bus.add_handler(spec)
    assert_type(await bus.statistics(), otp.EventManagerStatistics)
    kb.child(otp.EventManager, [spec, otp.handler(Alarm, 1)])
