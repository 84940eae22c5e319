"""Durable actors as programs write them: the checkers take each line, and know what it gives."""

from __future__ import annotations

from typing import assert_type

import koboshi as kb


class Gauge(kb.DurableActor[int]):
    @kb.message
    def raise_by(self, amount: int) -> int:
        self.state += amount
        return self.state

    @kb.query
    def level(self) -> int:
        return self.state

    @kb.query(linearizable=True)
    def newest(self, least: int) -> int:
        return max(least, self.state)

    @kb.query(linearizable=True)
    async def newest_later(self) -> str:
        return str(self.state)

    @kb.message
    def measured(self, level: float) -> None:
        self.state = int(level)

    @kb.message
    def follow(self) -> None:
        self.subscribe(levels, Gauge.measured)
        self.publish(levels, 1.5)
        self.unsubscribe(levels)

    @kb.message
    def ask_other(self) -> int:
        assert_type(self.message_id, str)
        assert_type(self.pipe(1.5, gauges["b"], Gauge.measured), float)
        return self.forward(gauges["b"], Gauge.raise_by, 3)


levels = kb.Channel("levels", float, store="memory://")
gauges = kb.durable(Gauge, store="memory://")


class Clerk(kb.DurableActor[None]):
    @kb.message
    def add(self, one: int, other: int) -> int:
        return one + other


clerks = kb.durable(Clerk, store="memory://", pooled=4)


async def main() -> None:
    assert_type(await clerks.any.call(Clerk.add, 1, 2), int)
    assert_type(await gauges["a"].call(Gauge.level), int)
    assert_type(await gauges["a"].call(Gauge.newest, 3), int)
    assert_type(await gauges["a"].call(Gauge.newest_later), str)
    assert_type(Gauge().newest(3), int)
    assert_type(levels, kb.Channel[float])
    assert_type(await levels.publish(1.5, request="x"), int)
