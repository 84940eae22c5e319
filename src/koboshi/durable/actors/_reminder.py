"""When a reminder is due: a rule as it is stored, and what it says for a moment. No clock of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..._kernel._errors import UsageError
from ..._supervision._options import one_of, seconds
from .._failures import ExtraNeeded

__all__ = ["MISSED", "Missed", "Rule", "rule_of"]

Missed = Literal["fire_all", "fire_once", "skip"]
MISSED: tuple[Missed, ...] = ("fire_all", "fire_once", "skip")
#: Seconds by which an occurrence may be late and is not missed.
ON_TIME = 10.0
#: Occurrences that are sent at once at most; the next look goes on.
MOST = 1_000


class Rule(NamedTuple):
    """One reminder's rule. `number` is that of the next occurrence, and rises with each.

    The kinds: "after" and "every" have seconds in `detail`, "at" a time, "cron" a zone and a line.
    """

    kind: str
    number: int
    detail: str

    @property
    def text(self) -> str:
        """As it is stored."""
        return f"{self.kind} {self.number} {self.detail}"

    @classmethod
    def read(cls, text: str) -> Rule:
        """The rule from its text."""
        kind, number, detail = text.split(" ", 2)
        return cls(kind, int(number), detail)

    def first(self, now: float) -> float:
        """When it is due for the first time, set at that moment."""
        if self.kind == "at":
            return float(self.detail)
        if self.kind == "cron":
            return self.following(now, now)
        return now + float(self.detail)

    def following(self, due: float, now: float) -> float:
        """When it is due next, after it was due then; infinity for never."""
        if self.kind == "every":
            # On a grid that begins with the first one, so that no lateness adds up.
            every = float(self.detail)
            following = due + every
            return following if following > due else due + max(every, 1e-3)
        if self.kind == "cron":
            zone, line = self.detail.split(" ", 1)
            return _after(line, zone, due)
        return float("inf")

    def fire(self, due: float, now: float, missed: str) -> tuple[list[int], float, Rule]:
        """What to do now that it is due: the occurrences to send, when it is due next, and the rule from then on."""
        times: list[float] = []
        number = self.number
        while due <= now and len(times) < MOST:
            times.append(due)
            due = self.following(due, now)
        if missed == "skip":
            sent = sum(each >= now - ON_TIME for each in times)
        elif missed == "fire_once":
            sent = 1
        else:
            sent = len(times)
        # The last ones: an occurrence keeps its number, whoever counts.
        numbers = list(range(number + len(times) - sent, number + len(times)))
        return numbers, due, self._replace(number=number + len(times))


def rule_of(
    number: int,
    after: float | None,
    at: datetime | float | None,
    every: float | None,
    cron: str | None,
    missed: object,
    timezone: str,
) -> Rule:
    """The rule that the arguments of `remind` say.

    Raises:
        UsageError: they say none, or more than one.
        ExtraNeeded: it needs the extra "cron".
    """
    one_of("missed", missed, MISSED)
    given = [each is not None for each in (after, at, every, cron)]
    if sum(given) != 1:
        raise UsageError(
            "remind takes one of after=seconds, at=datetime, every=seconds or cron='30 3 * * 1-5'"
        )
    if after is not None:
        if not _is_time(after):
            raise UsageError(f"after takes seconds >= 0, got {after!r}")
        return Rule("after", number, repr(float(after)))
    if every is not None:
        seconds("every", every)
        return Rule("every", number, repr(float(every)))
    if at is not None:
        return Rule("at", number, repr(_moment(at)))
    assert cron is not None
    _after(cron, timezone, 0.0)
    return Rule("cron", number, f"{timezone} {cron}")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")


def _moment(at: datetime | float) -> float:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise UsageError(
                f"at takes a datetime with a time zone, got {at!r}; write datetime.now(timezone.utc) + ..."
            )
        return at.timestamp()
    if not _is_time(at):
        raise UsageError(f"at takes a datetime or seconds since the epoch, got {at!r}")
    return float(at)


def _after(line: str, zone: str, moment: float) -> float:
    """The first time of a crontab's line after a moment; infinity where there is none."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        advice = "install it: pip install 'koboshi[cron]'"
        raise ExtraNeeded("a reminder by cron", "it needs the package cronsim", advice) from error
    try:
        where = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"timezone {zone!r} is not known here: {error}; write 'Europe/Berlin'") from None
    try:
        times = CronSim(line, datetime.fromtimestamp(moment, where))
        return next(times).timestamp()
    except StopIteration:
        return float("inf")
    except CronSimError as error:
        raise UsageError(f"cron line {line!r} cannot be understood: {error}; write '30 3 * * 1-5'") from None
