"""Lanes to nodes that are not there: what is sent to one that comes is kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...wire import Descriptor
from ...wire._buffers import BufferedPickle
from ._connection import Lane
from ._ops import Op


class Held(Lane):
    """What is sent to a node that is not up yet."""

    leaves = False

    def __init__(self) -> None:
        super().__init__(_NO_CONNECTION, -1)
        # Frames of other nodes, which come behind what the root has sent: it knew of the node first.
        self.frames: list[tuple[bytes, Sequence[Descriptor]]] = []

    def send(self, op: Op) -> bool:
        self.ops.append(op)
        return False

    def carry(self, packed: bytes | BufferedPickle) -> None:
        """It is not a frame yet: what it carries is looked up when it is."""


class Nowhere(Held):
    """What is sent to a node that is gone."""

    def send(self, op: Op) -> bool:
        return False


class _NoConnection:
    unsent_bytes = 0


_NO_CONNECTION: Any = _NoConnection()
NOWHERE = Nowhere()
