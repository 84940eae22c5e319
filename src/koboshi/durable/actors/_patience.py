"""Which actors are given their recorded messages more slowly, since something has gone wrong with them.

An activation that ends before it has handled anything is started again later and later: its `on_start` fails, say.
And messages whose turns were one write that the database has refused come one by one from then on, until they are
settled: which of them is to blame is seen only so. Those whose key this program does not have wait for one that has
it: while keys are changed host by host, a host without the new key gets messages that are sealed with it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from ..._supervision._restart import Backoff
from .._failures import WrongKey

__all__ = ["Patience"]

_log = logging.getLogger("koboshi.durable")


class Patience:
    """See the module.

    Args:
        look: has the outbox looked at.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        self._loop = loop
        self._look = look
        self._backoff = Backoff(0.1, 60.0, jitter=0.5)
        # By key: how often in a row its activation has ended without handling anything, and who is not tried now.
        self._vain: dict[str, int] = {}
        self._resting: set[str] = set()
        # By key: how many messages are still to come one by one.
        self._single: dict[str, int] = {}
        # Of whom it was told that messages wait for their key.
        self._told: set[str] = set()

    def holds_back(self, key: str, on_their_way: Iterable[str]) -> bool:
        """Whether an actor gets no message now. It will be looked for again when it may have one.

        Args:
            on_their_way: the keys of those messages that are.
        """
        if not (self._resting or self._single):
            return False
        return key in self._resting or (key in self._single and key in on_their_way)

    def progressed(self, key: str) -> None:
        """A message to it was settled, one way or the other."""
        self._vain.pop(key, None)
        left = self._single.get(key)
        if left is not None:
            if left > 1:
                self._single[key] = left - 1
            else:
                del self._single[key]
            self._look()

    def ended(self, key: str) -> None:
        """Its activation has ended with messages that it has not handled: they are to be looked for again."""
        times = self._vain[key] = self._vain.get(key, 0) + 1
        if times == 1:
            self._look()
        elif key not in self._resting:
            self._resting.add(key)
            self._loop.call_later(self._backoff.delay(times - 1, random.random), self._rested, key)

    def _rested(self, key: str) -> None:
        self._resting.discard(key)
        self._look()

    def one_by_one(self, key: str, count: int) -> None:
        """So many of its messages come one by one now."""
        if count > 1:
            self._single[key] = max(count, self._single.get(key, 0))

    def keyless(self, key: str, error: WrongKey) -> None:
        """A message to it cannot be opened here; this is told once."""
        if key not in self._told:
            self._told.add(key)
            _log.warning("a message waits, with what is behind it, for a program that can open it: %s", error)
