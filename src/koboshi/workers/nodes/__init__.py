"""Worker nodes: OS processes with an event loop each, whose actors are reached like any others."""

from __future__ import annotations

from ..._supervision._placement import provide, provide_names
from ._placement import OnNode, Own, Spread, check_name, own_process, spread
from ._worker_node import WorkerNode, WorkerNodeStatistics, node

__all__ = ["Own", "Spread", "WorkerNode", "WorkerNodeStatistics", "node", "own_process", "spread"]


def _on_node(name: str) -> OnNode:
    check_name(name)
    return OnNode(name)


provide("process", Own())
provide("thread", Own(thread=True))
provide_names(_on_node)
