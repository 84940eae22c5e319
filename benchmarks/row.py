"""What a row of the benchmarks is: its work's size, its sides, its check and its goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

MEASURED = "koboshi"
"""The side that the ratios and the goals are about."""


class Unit(Enum):
    """What a figure is; it decides which way is better."""

    RATE = "/s"
    BYTES = "bytes"
    SECONDS = "s"


@dataclass(frozen=True)
class Goal:
    """What koboshi must show on a row: a ratio to `side`, or its own figure when there is none.

    The ratio is the one of `Row.ratio`. `bound` is the least that counts as reached; for
    bytes, and for koboshi's own seconds, it is the most.
    """

    bound: float
    side: str | None = None


@dataclass(frozen=True)
class Row:
    """One kind of work, done by each of `sides`.

    Attributes:
        size: Operations in one batch.
        smaller: Sizes for the sides on which `size` would take too long. A figure is per
            operation, so it does not depend on the size; the checksum does.
        step: Every size is a multiple of this.
        once: The figure comes from one batch in a fresh process, without a warm-up batch.
        checksum: The only right result of a batch of the given size.
    """

    name: str
    what: str
    unit: Unit
    size: int
    sides: tuple[str, ...]
    checksum: Callable[[int], int]
    goals: tuple[Goal, ...] = ()
    smaller: Mapping[str, int] = field(default_factory=dict[str, int])
    step: int = 1
    once: bool = False

    def size_for(self, side: str, scale: float) -> int:
        """Operations in one batch of `side`, with `scale` applied to the full size."""
        scaled = int(self.smaller.get(side, self.size) * scale)
        return max(self.step, scaled - scaled % self.step)

    def better(self, figures: list[float]) -> float:
        """The best of the figures: the highest rate, the fewest bytes, the shortest time."""
        return max(figures) if self.unit is Unit.RATE else min(figures)

    def ratio(self, measured: float, other: float) -> float:
        """How koboshi's figure stands to another side's.

        For rates and for times, how many times as fast koboshi is. For bytes, its share of
        the other side's bytes.
        """
        if self.unit is Unit.SECONDS:
            return other / measured
        return measured / other

    def reached(self, goal: Goal, value: float) -> bool:
        """Whether a ratio (or koboshi's own figure) meets the goal."""
        least = self.unit is Unit.RATE or (self.unit is Unit.SECONDS and goal.side is not None)
        return value >= goal.bound if least else value <= goal.bound
