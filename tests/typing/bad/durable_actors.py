"""Mistakes with durable actors, each on the line that ends with `# refused`."""

from __future__ import annotations

import koboshi as kb


class Gauge(kb.DurableActor[int]):
    @kb.query(linearizable=True)
    def newest(self, least: int) -> int:
        return max(least, self.state)

    @kb.query(linearizable=1.5)  # refused
    def other(self) -> int:
        return self.state


    @kb.message
    def measured(self, level: float) -> None:
        self.state = int(level)

    @kb.message
    def named(self, name: str, level: float) -> None:
        self.state = int(level)

    @kb.message
    def follow(self) -> None:
        self.subscribe(levels, Gauge.newest_name)  # refused
        self.subscribe(levels, Gauge.named)  # refused
        self.subscribe(levels, Other.other_level)  # refused
        self.publish(levels, "high")  # refused

    @kb.message
    def newest_name(self, name: str) -> None:
        self.state = len(name)


    @kb.message
    def ask_other(self) -> str:
        self.forward(gauges["b"], Gauge.measured, "3")  # refused
        self.pipe(1.5, gauges["b"], Gauge.newest_name)  # refused
        return self.forward(gauges["b"], Gauge.newest, 3)  # refused


class Other(kb.DurableActor[int]):
    @kb.message
    def other_level(self, level: float) -> None:
        self.state = int(level)


levels = kb.Channel("levels", float, store="memory://")
gauges = kb.durable(Gauge, store="memory://")


async def main() -> None:
    await gauges["a"].call(Gauge.newest, "3")  # refused
    text: str = await gauges["a"].call(Gauge.newest, 3)  # refused
    await gauges.any.call(Other.other_level, 1.5)  # refused
    await levels.publish("high")  # refused
    print(text)
