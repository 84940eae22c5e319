"""Recording what attempts came to. All that ends a claim, but for `Recover` and a cancel, is here.

    put -> ready <-> later          a retry waits in "later"
             |
          claimed -> done | dead    or back: retry, release

A settlement that has effects (statements, tasks, a batch, a unique key) comes in an operation of its own: such
effects are for a row that this very transaction has changed, and one that is repeated must not repeat them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .._failures import StatementRefused
from ..stores import Operation, Session
from ..stores._tables import TASK, TASK_UNIQUE
from . import _batches, _counters
from ._batches import Ended
from ._claim import Claimed
from ._rows import FOREVER, TaskRow, put_rows
from ._turn import Statement
from ._vault import Vault

__all__ = ["Settle", "Settlement"]

Kind = Literal["done", "retry", "release", "dead"]

_MATCH = ("queue_name", "task_id", "token", "state")
_CHANGE = ("state", "turn", "due_at", "owner", "attempts", "interruptions", "result", "report")


@dataclass(slots=True)
class Settlement:
    """What becomes of one claim.

    Attributes:
        keep: seconds that a result is kept; None: for ever. The recorder sets it, and what seals it.
        ordered: the result has a place in the order of commits.
        delay: seconds until it may be claimed again.
        interrupted: its worker died, or the like: that counts by itself.
    """

    claimed: Claimed
    kind: Kind
    result: bytes | None = None
    report: str | None = None
    keep: float | None = None
    ordered: bool = False
    delay: float = 0.0
    interrupted: bool = False
    statements: Sequence[Statement] = ()
    rows: Sequence[TaskRow] = field(default=())
    vault: Vault | None = None

    @property
    def ends(self) -> bool:
        """Whether the task is over."""
        return self.kind in ("done", "dead")

    @property
    def special(self) -> bool:
        """Whether it has effects beside its row."""
        held = self.claimed
        return bool(
            self.statements
            or self.rows
            or (self.ends and (held.batch is not None or held.unique is not None))
        )

    def until(self, now: float) -> float:
        """When what is known of the ended task may be forgotten."""
        return FOREVER if self.keep is None else now + self.keep

    def row(self, now: float, place: int) -> tuple[Any, ...]:
        """The values of `_CHANGE`."""
        held, result, report = self.claimed, self.result, self.report
        if self.vault is not None:
            result = self.vault.seal_result(held.id, result)
            report = self.vault.seal_report(held.id, report)
        if self.kind == "done":
            return ("done", place, self.until(now), None, held.attempt, held.interruptions, result, None)
        if self.kind == "dead":
            return ("dead", 0, now, None, held.attempt, held.interruptions, None, report)
        attempts, interruptions = held.attempt, held.interruptions + self.interrupted
        if self.kind == "release":
            attempts -= 1
        if self.delay > 0:
            return ("later", 0, now + self.delay, None, attempts, interruptions, None, report)
        return ("ready", -held.priority, held.due_at, None, attempts, interruptions, None, report)


class Settle(Operation[list[bool]]):
    """Record settlements; for each, whether it holds: False when the task is somebody else's by now."""

    rank = 3

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.sealed = False

    def seal(self) -> None:
        """See `Operation.seal`."""
        self.sealed = True

    def perform(self, session: Session) -> list[bool]:
        """See `Operation.perform`."""
        [found] = self.perform_all(session, [self])
        return cast("list[bool]", found)

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Any]) -> list[Any]:
        """See `Operation.perform_all`."""
        every = [each for operation in operations for each in operation.settlements]
        held = _record(session, every)
        if any(each.special for each in every):
            if len(every) > 1 and not all(held):
                # Which of them are new cannot be told from here; done one by one it can.
                raise _NotAllNew
            _have_effects(
                session, [each for each, new in zip(every, held, strict=True) if new and each.special]
            )
        found: list[list[bool]] = []
        start = 0
        for operation in operations:
            size = len(operation.settlements)
            found.append([each is not False for each in held[start : start + size]])
            start += size
        return found


class _NotAllNew(Exception):
    """Some settlements were recorded before, or are refused."""


def _record(session: Session, every: Sequence[Settlement]) -> list[bool | None]:
    """Change the rows. For each: True, it holds; None, the same, perhaps since before; False, it is refused."""
    now = session.now
    places = _places(session, every)
    changes = [
        (each.claimed.queue, each.claimed.id, each.claimed.token, "claimed", *each.row(now, place))
        for each, place in zip(every, places, strict=True)
    ]
    changed = session.update(TASK, _MATCH, _CHANGE, changes)
    if changed == len(every):
        return [True] * len(every)
    keys = [(each.claimed.queue, each.claimed.id) for each in every]
    found = {
        (queue, id): (token, state)
        for queue, id, token, state in session.lookup(
            TASK, ("queue_name", "task_id", "token", "state"), ("queue_name", "task_id"), keys
        )
    }
    one = len(every) == 1
    held: list[bool | None] = []
    for each, values in zip(every, changes, strict=True):
        as_wanted = found.get((each.claimed.queue, each.claimed.id)) == (each.claimed.token, values[4])
        held.append(False if not as_wanted else None if one or each.special else True)
    return held


def _places(session: Session, every: Sequence[Settlement]) -> list[int]:
    """The place of each in the order of commits, where its queue keeps one."""
    wanted = Counter(each.claimed.queue for each in every if each.ordered and each.kind == "done")
    if not wanted:
        return [0] * len(every)
    last = {
        queue: _counters.add(session, _counters.place_name(queue), number) - number
        for queue, number in wanted.items()
    }
    places: list[int] = []
    for each in every:
        if each.ordered and each.kind == "done":
            last[each.claimed.queue] += 1
            places.append(last[each.claimed.queue])
        else:
            places.append(0)
    return places


def _have_effects(session: Session, special: Sequence[Settlement]) -> None:
    """What goes with rows that were changed just now."""
    for each in special:
        for sql, values in each.statements:
            try:
                session.execute(sql, values)
            except StatementRefused as error:
                held = each.claimed
                of = f"the task {held.id!r} ({held.function}) of the queue {held.queue!r}, given to kb.transact"
                raise StatementRefused(error.statement, error.detail, of) from error.__cause__
    rows = [row for each in special for row in each.rows]
    keys = [
        (each.claimed.queue, each.claimed.unique)
        for each in special
        if each.ends and each.claimed.unique is not None
    ]
    if keys:
        session.delete(TASK_UNIQUE, ("queue_name", "unique_key"), keys)
    ended = [
        Ended(each.claimed.queue, each.claimed.batch, each.kind == "dead", each.until(session.now))
        for each in special
        if each.ends and each.claimed.batch is not None
    ]
    if ended:
        rows += _batches.count_down(session, ended)
    if rows:
        put_rows(session, rows)
