"""Taking tasks that are due, and giving up those of hosts that are gone.

A claim is a row with state "claimed", its owner's host and a fresh token. Whatever settles it names the token
and the state, so a late owner's write finds no row; and a host without a live lease has lost its claims.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..._kernel._errors import UsageError
from ..._supervision._options import seconds, whole
from ..stores import Operation, Row, Select, Session
from ..stores._tables import HOST, TASK
from . import _counters
from ._peek import is_paused

__all__ = ["Claim", "Claimed", "Claims", "Rate", "Recover", "Strays"]

_DUE = Select(
    "SELECT task_id, priority FROM kb_task "
    "WHERE queue_name = :queue AND state = 'later' AND turn = 0 AND due_at <= :now ORDER BY due_at LIMIT :most"
)
_NEXT = Select("SELECT MIN(due_at) FROM kb_task WHERE queue_name = :queue AND state = 'later' AND turn = 0")
_READY = Select(
    "SELECT task_id, function_name, payload, attempts, interruptions, due_at, priority, batch_id, unique_key "
    "FROM kb_task WHERE queue_name = :queue AND state = 'ready' ORDER BY turn, due_at LIMIT :most"
)
_OWNERS = Select("SELECT DISTINCT owner FROM kb_task WHERE queue_name = :queue AND state = 'claimed'")
_LOST = Select(
    "SELECT task_id, function_name, payload, attempts, interruptions, due_at, priority, batch_id, unique_key, "
    "token FROM kb_task WHERE queue_name = :queue AND state = 'claimed' AND owner = :owner "
    "ORDER BY turn, due_at LIMIT :most"
)
_MATCH = ("queue_name", "task_id", "state")
_CHANGE = ("state", "turn", "owner", "token", "attempts")

# Rows that one operation moves at most, so that others get their turn between two.
_PORTION = 5_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast tasks of a queue may be started, by all programs together.

    Args:
        count: so many ...
        per: ... in so many seconds, on average (default 1.0).
        burst: how many at once, after a time in which fewer were started (default 1).
    """

    count: int
    per: float = 1.0
    burst: int = 1

    def __post_init__(self) -> None:
        whole("count", self.count, 1)
        seconds("per", self.per)
        whole("burst", self.burst, 1)
        if self.per / self.count < 1e-6:
            raise UsageError(f"a rate is at most one task in a microsecond, got {self!r}")

    @property
    def interval(self) -> int:
        """Microseconds between two starts."""
        return max(1, round(self.per / self.count * 1e6))


class Claimed(NamedTuple):
    """The right to run one attempt of one task."""

    queue: str
    id: str
    function: str
    payload: bytes
    attempt: int
    interruptions: int
    due_at: float
    priority: int
    batch: str | None
    unique: str | None
    token: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim found.

    Attributes:
        now: the database's time.
        next_due: when the next task that waits for its time has it, if there is one.
        wait: seconds until the rate allows one more; 0.0 where it does not matter.
    """

    claimed: list[Claimed]
    paused: bool
    now: float
    next_due: float | None
    wait: float


class Claim(Operation[Claims]):
    """Take up to `most` tasks that are due, those of the highest priority first, then the oldest."""

    rank = 5

    def __init__(self, queue: str, host: str, most: int, rate: Rate | None) -> None:
        self._queue = queue
        self._host = host
        self._most = most
        self._rate = rate

    def perform(self, session: Session) -> Claims:
        """See `Operation.perform`."""
        queue, now = self._queue, session.now
        if is_paused(session, queue):
            return Claims([], True, now, None, 0.0)
        more = self._promote(session, now)
        most, wait = self._most, 0.0
        if self._rate is not None:
            most, wait = self._allowed(session, self._rate)
        claimed = self._take(session, most) if most else []
        if self._rate is not None and claimed:
            self._spend(session, self._rate, len(claimed))
        if len(claimed) < most:
            wait = 0.0  # it is not the rate that holds anything back
        if len(claimed) == self._most:
            next_due = None
        else:
            next_due = now if more else session.fetch(_NEXT, queue)[0][0]
        return Claims(claimed, False, now, next_due, wait)

    def _promote(self, session: Session, now: float) -> bool:
        """Make ready what waited for its time, or some of it; whether there may be more."""
        due = session.take(_DUE, self._queue, now, _PORTION)
        if due:
            changes = [(self._queue, id, "later", "ready", -priority) for id, priority in due]
            session.update(TASK, _MATCH, ("state", "turn"), changes)
        return len(due) == _PORTION

    def _take(self, session: Session, most: int) -> list[Claimed]:
        rows = session.take(_READY, self._queue, most)
        token = os.urandom(16)
        changes = [
            (self._queue, row[0], "ready", "claimed", 0, self._host, token, row[3] + 1) for row in rows
        ]
        if changes:
            session.update(TASK, _MATCH, _CHANGE, changes)
        return [_claimed(self._queue, row, row[3] + 1, token) for row in rows]

    def _allowed(self, session: Session, rate: Rate) -> tuple[int, float]:
        """How many may be started now, and the seconds until one more may."""
        # Adding nothing holds the row until our commit, so that programs do not count the same starts.
        on_time = _counters.add(session, _counters.rate_name(self._queue), 0)
        now = int(session.now * 1e6)
        ahead = max(on_time, now) - now
        most = rate.burst * rate.interval
        if ahead > most:
            # No start is as far ahead: the clock was set back. What it showed before is no reason to stand still.
            ahead = most
            _counters.write(session, _counters.rate_name(self._queue), now + ahead)
        # A transaction that waited for the row may have an earlier time than the one that held it: by a hundredth of
        # an interval a start may be early, which the next ones make up for.
        allowed = min(self._most, (most - ahead + rate.interval // 100) // rate.interval)
        if allowed > 0:
            return allowed, rate.interval / 1e6
        return 0, (ahead - (rate.burst - 1) * rate.interval) / 1e6

    def _spend(self, session: Session, rate: Rate, started: int) -> None:
        name = _counters.rate_name(self._queue)
        on_time = max(_counters.read(session, [name])[name], int(session.now * 1e6))
        _counters.write(session, name, on_time + started * rate.interval)


def _claimed(queue: str, row: Row, attempt: int, token: bytes) -> Claimed:
    id, function, payload, _, interruptions, due_at, priority, batch, unique = row[:9]
    return Claimed(
        queue, id, function, payload, attempt, interruptions, due_at, priority, batch, unique, token
    )


class Recover(Operation[int]):
    """Make the claims of hosts that are gone ready again; how many there were.

    Args:
        host: ours. With `own`, its claims too: they are of a predecessor in this program.
        counts: whether the loss of its host counts as an interruption of a function's tasks: it does where they
            run inside of the program.
    """

    rank = 3

    def __init__(self, queue: str, host: str, *, own: bool, counts: Callable[[str], bool]) -> None:
        self._queue = queue
        self._host = host
        self._own = own
        self._counts = counts

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        owners = [owner for (owner,) in session.fetch(_OWNERS, self._queue) if owner is not None]
        if not owners:
            return 0
        hosts = session.lookup(HOST, ("host_id", "lease_until"), ("host_id",), [(owner,) for owner in owners])
        now = session.lease_now
        alive = {host for host, lease_until in hosts if lease_until > now} | {self._host}
        if self._own:
            alive.discard(self._host)
        return sum(_free(session, self._queue, owner, self._counts) for owner in owners if owner not in alive)


class Strays(Operation[int]):
    """Make claims of ours ready again that we do not know of; how many there were.

    A claim whose COMMIT was not answered may hold all the same, and nobody else takes it while we live.

    Args:
        held: ids of those that we know of.
    """

    rank = 3

    def __init__(self, queue: str, host: str, held: frozenset[str]) -> None:
        self._queue = queue
        self._host = host
        self._held = held

    def perform(self, session: Session) -> int:
        """See `Operation.perform`."""
        return _free(session, self._queue, self._host, _never_begun, self._held)


def _never_begun(function: str) -> bool:
    return False


def _free(
    session: Session,
    queue: str,
    owner: str,
    counts: Callable[[str], bool],
    but: frozenset[str] = frozenset(),
) -> int:
    match = (*_MATCH, "token")
    change = ("state", "turn", "owner", "attempts", "interruptions")
    rows = session.fetch(_LOST, queue, owner, _PORTION)
    changes = [
        (
            queue,
            id,
            "claimed",
            token,
            "ready",
            -priority,
            None,
            attempts - 1,
            interruptions + counts(function),
        )
        for id, function, _, attempts, interruptions, _, priority, _, _, token in rows
        if id not in but
    ]
    return session.update(TASK, match, change, changes) if changes else 0
