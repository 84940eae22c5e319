"""Mistakes with event-sourced actors and projections, each on the line that ends with `# refused`."""

from __future__ import annotations

import koboshi as kb


class Shopping(kb.EventSourced[int]):
    @kb.message
    def add(self, cents: int) -> None:
        self.state = self.state + cents  # refused

    @kb.event  # refused
    @staticmethod
    def added(state: int, event: str) -> str:
        return event


class Total(kb.Projection[int]):
    @kb.query
    def total(self) -> int:
        return self.state


class Other(kb.Projection[int]):
    @kb.query
    def other(self) -> int:
        return self.state


carts = kb.durable(Shopping, store="memory://")
totals = kb.projection(Total, of=carts)
wrong = kb.projection(Shopping, of=carts)  # refused


async def main() -> None:
    text: str = await carts["a"].as_of(1)  # refused
    await carts["a"].as_of("1")  # refused
    await totals.call(Other.other)  # refused
    await totals.wait_for("b")  # refused
    print(text)
