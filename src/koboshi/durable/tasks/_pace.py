"""How many tasks to hold: about half a second of work at the pace that was seen."""

from __future__ import annotations

__all__ = ["Pace"]

_SECONDS = 0.5
_MOST = 4_096
# Seconds that are measured together.
_WINDOW = 0.05


class Pace:
    """Tasks that end in a second, smoothed.

    Few are held while tasks are slow, so that other programs get theirs and a crash interrupts little.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._ended = 0
        self._rate = 0.0

    def count(self, ended: int) -> None:
        """So many have ended."""
        self._ended += ended

    def target(self, now: float, least: int) -> int:
        """How many to hold."""
        passed = now - self._began
        if passed >= _WINDOW:
            latest = self._ended / passed
            self._rate = max(latest, 0.5 * self._rate + 0.5 * latest)
            self._began, self._ended = now, 0
        elif self._ended > self._rate * _WINDOW:
            # A burst of short ones at the beginning need not wait for the end of the window.
            return max(least, min(_MOST, int(self._ended / _WINDOW * _SECONDS)))
        return max(least, min(_MOST, int(self._rate * _SECONDS)))
