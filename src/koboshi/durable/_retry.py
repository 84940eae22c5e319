"""How long what has failed waits, unless its author says otherwise: tasks, steps and compensations alike."""

from __future__ import annotations

from .._supervision._restart import Backoff

__all__ = ["RETRY"]

#: 1 s, doubled up to 300 s. Half of each is random: what failed together does not come back together.
RETRY = Backoff(1.0, 300.0, jitter=0.5)
