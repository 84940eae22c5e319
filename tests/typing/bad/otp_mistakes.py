"""Mistakes with agents, introspection and event managers: each marked line must be refused by both checkers."""

from __future__ import annotations

import koboshi as kb
from koboshi import otp


def put(value: dict[str, int], key: str, number: int) -> dict[str, int]:
    return value | {key: number}


def to_text(value: dict[str, int]) -> str:
    return str(value)


class Alarm(otp.EventHandler):
    def __init__(self, level: int) -> None:
        self.level = level


class Counter(kb.Actor):
    pass


async def agents(agent: otp.AgentHandle[dict[str, int]], counter: kb.ActorRef[Counter]) -> None:
    await agent.update(put, "a", "1")  # refused
    await agent.update(put, "a")  # refused
    await agent.update(to_text)  # refused
    await agent.get_and_update(to_text)  # refused
    agent.cast(to_text)  # refused
    number: int = await agent.get(to_text)  # refused
    otp.agent(counter)  # refused
    print(number)


async def looks(counter: kb.ActorRef[Counter]) -> None:
    await otp.log(counter, "print")  # refused
    await otp.statistics(counter, "reset")  # refused
    await otp.suspend(3)  # refused
    await otp.replace_state(counter, 3)  # refused
    await kb.upgrade(counter, dict)  # refused


async def events(bus: otp.EventManagerHandle) -> None:
    otp.handler(Alarm, level="high")  # refused
    otp.handler(Counter)  # refused
    await bus.add_handler(Alarm)  # refused
