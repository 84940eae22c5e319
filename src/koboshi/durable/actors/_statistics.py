"""What a kind tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DurableStatistics"]


@dataclass(frozen=True, slots=True)
class DurableStatistics:
    """A kind at one moment: who is awake and waking, and since its start activations, deactivations and losses."""

    type: str
    active: int
    activating: int
    activated: int
    deactivated: int
    lost: int
    delivering: int
    delivered: int
    dead_letters: int
