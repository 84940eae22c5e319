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
from ._options import text
from ._plan import Plan
from ._rows import TaskRow, put_rows
from ._vault import Vault

__all__ = ["Missed", "Schedule", "fire", "occurrences"]

Missed = Literal["fire_all", "fire_once", "skip"]

MISSED: tuple[Missed, ...] = ("fire_all", "fire_once", "skip")
# Seconds by which an occurrence may be late and is not missed: programs look once a second.
_ON_TIME = 30.0
# Occurrences that one look puts at most; the next look goes on.
_PORTION = 1_000
# Seconds to look back for the last occurrence: each window holds few of a line that has none in the one before.
_WINDOWS = (60.0, 3_600.0, 86_400.0, 31 * 86_400.0, 366 * 86_400.0)
# It is part of the ids of the tasks and of a counter's name, beside the queue's.
_NAME_LIMIT = 100


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
        text("the name of a schedule", self.name, _NAME_LIMIT)
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
        # In the hour that comes twice in autumn, a line may go on with its first time, which is over.
        return next((when for each in times if (when := each.timestamp()) > after), float("inf"))

    return following


class _Fire(Operation[int]):
    """Put what has become due since the last look; how many."""

    rank = 4

    def __init__(self, queue: str, vault: Vault, schedule: Schedule) -> None:
        self._queue = queue
        self._vault = vault
        self._schedule = schedule

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        schedule, now = self._schedule, session.now
        name = _counters.schedule_name(self._queue, schedule.name)
        # Holds the row, so that of several programs one is first and the others find nothing left to do.
        last = _counters.add(session, name, 0)
        if not last or _is_ahead(last, now):
            _counters.write(session, name, int(now))  # it is new: what was before is no concern of it
            return 0
        due = _due(schedule, last, now)
        if not due:
            return 0
        _counters.write(session, name, int(due[-1]))
        late = now - _ON_TIME
        if schedule.missed == "skip":
            due = [when for when in due if when >= late]
        return sum(new for _, new in put_rows(session, [self._row(when) for when in due]))

    def _row(self, when: float) -> TaskRow:
        schedule = self._schedule
        id = f"cron/{schedule.name}/{_stamp(when)}"
        payload = self._vault.seal_arguments(id, schedule.function, schedule.payload)
        return TaskRow(self._queue, id, schedule.function, payload, schedule.priority)


def _is_ahead(last: int, now: float) -> bool:
    """Whether the clock was set back since: it goes on from now, and what is put again has the id that it had."""
    return last > now + _ON_TIME


def _due(schedule: Schedule, last: int, now: float) -> list[float]:
    """The occurrences that are dealt with now, the last of which says up to when all is dealt with.

    Of missed ones it is all of a portion for "fire_all", and the latest for the others, unless there are some that
    are on time, which stand for it.
    """
    if schedule.missed == "fire_all":
        return _between(schedule, last, now, _PORTION)
    on_time = _between(schedule, max(last, now - _ON_TIME), now)
    if on_time:
        return on_time
    for window in (*_WINDOWS, now):
        if found := _between(schedule, max(last, now - window), now):
            return found[-1:]
        if now - window <= last:
            break
    return []


def _between(schedule: Schedule, after: float, until: float, most: int | None = None) -> list[float]:
    following = schedule.after(after)
    found: list[float] = []
    while (most is None or len(found) < most) and (when := following()) <= until:
        found.append(when)
    return found


def _stamp(when: float) -> str:
    return (datetime(1970, 1, 1) + timedelta(seconds=when)).isoformat() + "Z"


async def fire(store: Store, plan: Plan, schedule: Schedule) -> bool:
    """Put what has become due; whether there was anything. A look that finds nothing writes nothing."""
    name = _counters.schedule_name(plan.name, schedule.name)

    def due(session: Session) -> bool:
        last = _counters.read(session, [name]).get(name)
        return not last or _is_ahead(last, session.now) or schedule.after(float(last))() <= session.now

    if not await store.read(due):
        return False
    put = await store.run(_Fire(plan.name, plan.vault, schedule))
    return put > 0
