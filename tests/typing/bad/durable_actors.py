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


gauges = kb.durable(Gauge, store="memory://")


async def main() -> None:
    await gauges["a"].call(Gauge.newest, "3")  # refused
    text: str = await gauges["a"].call(Gauge.newest, 3)  # refused
    print(text)
