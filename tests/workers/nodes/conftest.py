"""A tree with two worker nodes, and an agent on each and in the root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.workers.nodes.agents import Agent

import koboshi as kb


@dataclass
class World:
    """Agents `home` in the root, `one` and `two` on worker nodes; all pid refs."""

    tree: kb.Supervisor
    home: kb.ActorRef[Agent]
    one: kb.ActorRef[Agent]
    two: kb.ActorRef[Agent]
    events: list[kb.events.Event] = field(default_factory=list)

    async def agent(self, name: str, on: Any = None, **options: Any) -> kb.ActorRef[Agent]:
        """Another agent, that is not restarted."""
        spec = kb.child(Agent, name).options(id=name, on=on, restart="temporary", **options)
        started: kb.ActorRef[Agent] = await self.tree.start_child(spec)
        return started


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with kb.Supervisor(kb.node("n1"), kb.node("n2"), max_restarts=1000) as tree:
        agents = [
            await tree.start_child(kb.child(Agent, name).options(id=name, on=on, restart="temporary"))
            for name, on in (("home", None), ("one", "n1"), ("two", "n2"))
        ]
        made = World(tree, *agents)  # type: ignore[arg-type]
        stop = kb.listen(made.events.append)
        yield made
        stop()
