"""The timeouts of one machine: which are set, with what payload, and which of their ends still count."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from ..._kernel._timers import Timer

__all__ = ["Timeouts"]


@dataclass(slots=True, eq=False)
class _Setting:
    number: int
    payload: Any
    timer: Timer | None


class Timeouts:
    """Named settings, each with a number by which an end that is out of date is known.

    Args:
        start: starts a timer that gives back the name and the number after so many seconds.
    """

    def __init__(self, start: Callable[[float, Hashable, int], Timer | None]) -> None:
        self._start = start
        self._set: dict[Hashable, _Setting] = {}
        self._numbers = 0

    def names(self) -> list[Hashable]:
        """The timeouts that are set."""
        return list(self._set)

    def set(self, name: Hashable, seconds: float, payload: Any) -> int:
        """Set a timeout, anew if it is set; gives the setting's number. Zero seconds start no timer."""
        self.cancel(name)
        self._numbers += 1
        timer = self._start(seconds, name, self._numbers) if seconds > 0 else None
        self._set[name] = _Setting(self._numbers, payload, timer)
        return self._numbers

    def cancel(self, name: Hashable) -> bool:
        """Take a timeout back, though its end may be on its way; False when it is not set."""
        setting = self._set.pop(name, None)
        if setting is not None and setting.timer is not None:
            setting.timer.cancel()
        return setting is not None

    def update(self, name: Hashable, payload: Any) -> bool:
        """Give a running timeout another payload and leave its time; False when it is not set."""
        setting = self._set.get(name)
        if setting is not None:
            setting.payload = payload
        return setting is not None

    def ends(self, name: Hashable, number: int) -> tuple[Any] | None:
        """The payload of a timeout whose end has come; None when that end does not count any more."""
        setting = self._set.get(name)
        if setting is None or setting.number != number:
            return None
        del self._set[name]
        return (setting.payload,)
