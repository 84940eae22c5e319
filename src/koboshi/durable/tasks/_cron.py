"""Tasks at times of the calendar: one row for each occurrence, whichever program puts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..._kernel._errors import UsageError
from ..._supervision._options import one_of
from .._failures import ExtraNeeded
from ..stores import Operation, Session, Store
from . import _counters
from ._rows import TaskRow, put_rows

__all__ = ["Missed", "Schedule", "fire", "occurrences"]

Missed = Literal["fire_all", "fire_once", "skip"]

MISSED: tuple[Missed, ...] = ("fire_all", "fire_once", "skip")
# Seconds by which an occurrence may be late and is not missed: programs look once a second.
_ON_TIME = 30.0
# Occurrences that one look puts at most; the next look goes on.
_PORTION = 1_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """One line of a crontab; see `Queue.cron`."""

    name: str
    line: str
    timezone: str
    missed: Missed
    function: str
    payload: bytes
    priority: int

    def __post_init__(self) -> None:
        one_of("missed", self.missed, MISSED)
        occurrences(self.line, self.timezone, 0.0)

    def after(self, seconds: float) -> Callable[[], float]:
        """Gives the occurrences after that time, in seconds since the epoch, one at each call."""
        return occurrences(self.line, self.timezone, seconds)


def occurrences(line: str, zone: str, after: float) -> Callable[[], float]:
    """The occurrences of a crontab's line.

    Raises:
        UsageError: the line or the zone cannot be understood.
        ExtraNeeded: `cronsim` is not installed.
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        advice = "install it: pip install 'koboshi[cron]'"
        raise ExtraNeeded("a cron schedule", "it needs the package cronsim", advice) from error
    try:
        where = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"timezone {zone!r} is not known here: {error}; an example is 'Europe/Berlin'"
        ) from None
    try:
        times = CronSim(line, datetime.fromtimestamp(after, where))
    except CronSimError as error:
        raise UsageError(
            f"cron line {line!r} cannot be understood: {error}; an example is '30 3 * * 1-5'"
        ) from None

    def following() -> float:
        try:
            return next(times).timestamp()
        except StopIteration:
            return float("inf")

    return following


class _Fire(Operation[int]):
    """Put what has become due since the last look; how many."""

    rank = 4

    def __init__(self, queue: str, schedule: Schedule) -> None:
        self._queue = queue
        self._schedule = schedule

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        schedule, now = self._schedule, session.now
        name = _counters.schedule_name(self._queue, schedule.name)
        # Holds the row, so that of several programs one is first and the others find nothing left to do.
        last = _counters.add(session, name, 0)
        if not last:
            _counters.write(session, name, int(now))  # it is new: what was before is no concern of it
            return 0
        due, last = self._due(last, now)
        _counters.write(session, name, last)
        rows = [
            TaskRow(
                self._queue,
                f"cron/{schedule.name}/{_stamp(when)}",
                schedule.function,
                schedule.payload,
                schedule.priority,
            )
            for when in due
        ]
        return sum(new for _, new in put_rows(session, rows))

    def _due(self, last: int, now: float) -> tuple[list[float], int]:
        """The occurrences to be put, and up to when all is dealt with then."""
        following = self._schedule.after(float(last))
        found: list[float] = []
        while (when := following()) <= now and len(found) < _PORTION:
            found.append(when)
        if not found:
            return [], last
        end = int(found[-1])
        late = [when for when in found if when < now - _ON_TIME]
        if self._schedule.missed == "skip":
            found = found[len(late) :]
        elif self._schedule.missed == "fire_once" and late:
            found = found[max(len(late) - 1, 0) :]
            if len(found) > 1:
                found = found[1:]  # one that is on time stands for those that were missed
        return found, end


def _stamp(when: float) -> str:
    return (datetime(1970, 1, 1) + timedelta(seconds=when)).isoformat() + "Z"


async def fire(store: Store, queue: str, schedule: Schedule) -> bool:
    """Put what has become due; whether there was anything. A look that finds nothing writes nothing."""
    name = _counters.schedule_name(queue, schedule.name)

    def due(session: Session) -> bool:
        last = _counters.read(session, [name]).get(name)
        return not last or schedule.after(float(last))() <= session.now

    if not await store.read(due):
        return False
    put = await store.run(_Fire(queue, schedule))
    return put > 0
