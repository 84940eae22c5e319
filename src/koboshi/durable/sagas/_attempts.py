"""The attempts of steps and compensations: how many have failed, and how many ended with the whole program.

An attempt that ends with its program records nothing itself, so what is recorded is that it begins: by `Began` for
the first one of a step, by `Trying` for all others. Each program records that itself, also where the one before had
the same attempt under way: only a commit tells it that nobody has taken the saga over while it stood still. A program
that finds such an attempt under way, in an instance that nobody has given back, knows that it was interrupted. One
that has ended in order gives its instances back, and what it had under way is begun again without being counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from ._failing import worn_out
from ._journal import Entry, Failure, Interrupted, Tried, Trying

if TYPE_CHECKING:
    from ..._supervision._restart import Backoff
    from ._runner import Runner

__all__ = ["Attempts", "attempt_begins", "sleep_until"]

_log = logging.getLogger("koboshi.durable")


class Tries:
    """Of one step or compensation."""

    __slots__ = ("at_work", "attempt", "cut", "interruptions", "not_before")

    def __init__(self) -> None:
        # Attempts that have failed, and when the next one may be.
        self.attempt = 0
        self.not_before = 0.0
        self.interruptions = 0
        # Whether an attempt is recorded as begun and not as ended; once the journal is read, by this program.
        self.at_work = False
        # Whether such a one was found to have ended with its program; until that is recorded.
        self.cut = False


class Attempts:
    """Of one instance, by label."""

    def __init__(self) -> None:
        self._by_label: dict[str, Tries] = {}

    def of(self, label: str) -> Tries:
        """Those of a step or a compensation."""
        return self._by_label.setdefault(label, Tries())

    def apply(self, entry: Entry) -> None:
        """What the journal says, if it is of attempts."""
        if not isinstance(entry, Tried | Trying | Interrupted):
            return
        tries = self.of(entry.label)
        tries.at_work = isinstance(entry, Trying)
        if isinstance(entry, Tried):
            tries.attempt, tries.not_before = entry.attempt, entry.not_before
        elif isinstance(entry, Interrupted):
            tries.interruptions, tries.not_before = entry.times, entry.not_before

    def go_on(self, *, interrupted: bool) -> None:
        """The journal is read: what was under way is begun again, or interrupted if its program has died."""
        for tries in self._by_label.values():
            tries.cut = interrupted and tries.at_work
            tries.at_work = False

    def forget(self, prefix: str) -> None:
        """Count anew for labels that begin so."""
        for label in [each for each in self._by_label if each.startswith(prefix)]:
            del self._by_label[label]


async def attempt_begins(runner: Runner, label: str, backoff: Backoff) -> Failure | None:
    """Wait until an attempt may begin, and have it recorded that it does; or why there is none any more."""
    tries = runner.attempts.of(label)
    if tries.cut:
        tries.cut = False
        times = tries.interruptions + 1
        _log.warning("%s: the program ended during the %s, %d times so far", runner.who, label, times)
        if times > runner.spec.max_interruptions:
            return worn_out(times)
        # From the second time on whatever kills the program and what is beside it do not begin together.
        delay = backoff.delay(times - 1, random.random) if times > 1 else 0.0
        runner.write(Interrupted(label, times, runner.now() + delay))
    with runner.rest.pause(label, tries.not_before):
        await sleep_until(runner, tries.not_before)
    if not tries.at_work:
        runner.write(Trying(label))
    await runner.flush()
    return None


async def sleep_until(runner: Runner, moment: float) -> None:
    """Wait until a moment of the database's clock."""
    left = moment - runner.now()
    if left > 0:
        await asyncio.sleep(left)
