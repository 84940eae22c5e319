"""Elastic pools (FLAME): runners that come when there is work and go when there is none."""

from __future__ import annotations

from ._errors import CodeMismatch, ExtraMissing, RunnerLost
from ._flame import Flame
from ._handle import Runners, flame, runners
from ._seat import FlameStatistics

__all__ = [
    "CodeMismatch",
    "ExtraMissing",
    "Flame",
    "FlameStatistics",
    "RunnerLost",
    "Runners",
    "flame",
    "runners",
]
