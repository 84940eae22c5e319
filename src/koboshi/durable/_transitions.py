"""Every change a job can go through, as SQL. All transitions live here.

    put -> pending -> claimed -> done
              ^          |
              +-- retry, release, lease ran out, reclaim
                         +-> dead -> (requeue) pending

Each function runs inside a transaction that somebody else begins and commits, may be run again after a
rollback, and moves the tally with the rows. Whatever settles a claim names its token in the WHERE: that is
the fence, and a late owner's write finds no row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from ._jobs import Claim

__all__ = [
    "Transaction",
    "acknowledge",
    "bury",
    "claim",
    "put",
    "reclaim",
    "release",
    "renew",
    "requeue",
    "retry",
]

_HELD = "number = ? AND token = ? AND state = 'claimed'"


class Transaction:
    """One open transaction: a cursor, and how many jobs it moved from where to where."""

    __slots__ = ("_position", "cursor", "moved", "run")

    def __init__(self, cursor: sqlite3.Cursor, run: int) -> None:
        self.cursor = cursor
        self.run = run
        self.moved: dict[str, int] = {}
        # None until it is first asked for. An operation that fails leaves it as it was before.
        self._position: int | None = None

    def move(self, jobs: int, source: str | None, target: str) -> None:
        """Notes that `jobs` jobs went from `source` (None: they are new) to `target`."""
        if source is not None:
            self.moved[source] = self.moved.get(source, 0) - jobs
        self.moved[target] = self.moved.get(target, 0) + jobs

    def savepoint(self) -> tuple[dict[str, int], int | None]:
        """What `rollback` needs to undo the notes of an operation that failed."""
        return dict(self.moved), self._position

    def rollback(self, notes: tuple[dict[str, int], int | None]) -> None:
        """Forgets the notes made since `savepoint`."""
        self.moved, self._position = notes

    def last_position(self) -> int:
        """The place of the last result in commit order, this transaction's own included."""
        if self._position is None:
            row = self.cursor.execute("SELECT coalesce(max(position), 0) FROM result").fetchone()
            self._position = int(row[0])
        return self._position

    def use_positions(self, results: int) -> None:
        """Notes that so many results were stored after the last position."""
        self._position = self.last_position() + results


def put(tx: Transaction, jobs: Iterable[tuple[str, bytes]], now: float) -> list[bool]:
    """Adds jobs; False at the place of each whose id is there already."""
    execute = tx.cursor.execute
    statement = (
        "INSERT INTO job (id, state, due_at, payload) VALUES (?, 'pending', ?, ?) ON CONFLICT (id) DO NOTHING"
    )
    added = [execute(statement, (id, now, payload)).rowcount == 1 for id, payload in jobs]
    tx.move(sum(added), None, "pending")
    return added


def claim(
    tx: Transaction, owner: str, token: bytes, limit: int, now: float, lease_until: float, max_attempts: int
) -> list[Claim]:
    """Takes up to `limit` jobs that are due, oldest due time first."""
    _expire(tx, now, max_attempts)
    rows = tx.cursor.execute(
        "UPDATE job SET state = 'claimed', attempts = attempts + 1, due_at = ?, run = ?, owner = ?, token = ?"
        " WHERE number IN (SELECT number FROM job WHERE state = 'pending' AND due_at <= ?"
        " ORDER BY due_at, number LIMIT ?) RETURNING number, id, payload, attempts",
        (lease_until, tx.run, owner, token, now, limit),
    ).fetchall()
    tx.move(len(rows), "pending", "claimed")
    rows.sort()  # RETURNING promises no order
    return [Claim(id, payload, attempt, owner, number, token) for number, id, payload, attempt in rows]


def _expire(tx: Transaction, now: float, max_attempts: int) -> None:
    """Takes back the claims whose lease ran out.

    A job that took its owner down on every attempt must not do so for ever: without attempts left it
    becomes a dead letter.
    """
    _take_back(tx, "lost its lease", max_attempts, "state = 'claimed' AND due_at <= ?", (now,))


def reclaim(tx: Transaction, owner: str | None, now: float, max_attempts: int, *, refund: bool) -> int:
    """Takes back the claims of `owner`, or with None those of all earlier runs; returns how many."""
    if owner is None:
        where = "state = 'claimed' AND due_at IS NOT NULL AND run <> ?"
        values: tuple[str | int, ...] = (tx.run,)
    else:
        where, values = "state = 'claimed' AND due_at IS NOT NULL AND owner = ?", (owner,)
    if refund:
        tx.cursor.execute(f"UPDATE job SET attempts = attempts - 1 WHERE {where}", values)
    return _take_back(tx, "died", max_attempts, where, values, due_at=now)


def _take_back(
    tx: Transaction,
    cause: str,
    max_attempts: int,
    where: str,
    values: tuple[str | float, ...],
    due_at: float | None = None,
) -> int:
    """Ends the claims that `where` selects; without `due_at` the old due time stays."""
    buried = tx.cursor.execute(
        "UPDATE job SET state = 'dead', due_at = NULL, token = NULL,"
        " report = 'the owner ' || owner || ' ' || ? || ' during attempt ' || attempts || ' of ' || ?"
        f" WHERE {where} AND attempts >= ?",
        (cause, max_attempts, *values, max_attempts),
    ).rowcount
    freed = tx.cursor.execute(
        "UPDATE job SET state = 'pending', due_at = coalesce(?, due_at), owner = NULL, token = NULL"
        f" WHERE {where}",
        (due_at, *values),
    ).rowcount
    tx.move(buried, "claimed", "dead")
    tx.move(freed, "claimed", "pending")
    return buried + freed


def acknowledge(tx: Transaction, results: Iterable[tuple[Claim, bytes]]) -> list[Claim]:
    """Stores results and settles their jobs; returns the claims that were refused."""
    execute = tx.cursor.execute
    settle = f"UPDATE job SET state = 'done', due_at = NULL, position = ? WHERE {_HELD}"
    refused: list[Claim] = []
    first = position = tx.last_position()
    for held, value in results:
        if execute(settle, (position + 1, held.number, held.token)).rowcount:
            position += 1
            execute("INSERT INTO result VALUES (?, ?, ?)", (position, held.number, value))
        elif not _recorded_before(tx, held):
            refused.append(held)
    tx.use_positions(position - first)
    tx.move(position - first, "claimed", "done")
    return refused


def _recorded_before(tx: Transaction, held: Claim) -> bool:
    """Whether this very claim's acknowledgement was recorded: repeating it is then no error."""
    statement = "SELECT 1 FROM job WHERE number = ? AND token = ? AND state = 'done'"
    return tx.cursor.execute(statement, (held.number, held.token)).fetchone() is not None


def retry(tx: Transaction, held: Claim, report: str, not_before: float) -> list[Claim]:
    """Ends a failed attempt; the job may be claimed again from `not_before`."""
    freed = tx.cursor.execute(
        f"UPDATE job SET state = 'pending', due_at = ?, owner = NULL, token = NULL, report = ? WHERE {_HELD}",
        (not_before, report, held.number, held.token),
    ).rowcount
    tx.move(freed, "claimed", "pending")
    return [] if freed else [held]


def bury(tx: Transaction, held: Claim, report: str) -> list[Claim]:
    """Ends the last attempt: the job becomes a dead letter."""
    buried = tx.cursor.execute(
        f"UPDATE job SET state = 'dead', due_at = NULL, token = NULL, report = ? WHERE {_HELD}",
        (report, held.number, held.token),
    ).rowcount
    tx.move(buried, "claimed", "dead")
    return [] if buried else [held]


def release(tx: Transaction, claims: Sequence[Claim], now: float) -> list[Claim]:
    """Gives jobs back as if they had not been claimed; returns the claims that were refused."""
    statement = (
        "UPDATE job SET state = 'pending', due_at = ?, attempts = attempts - 1, owner = NULL, token = NULL"
        f" WHERE {_HELD}"
    )
    execute = tx.cursor.execute
    refused = [held for held in claims if not execute(statement, (now, held.number, held.token)).rowcount]
    tx.move(len(claims) - len(refused), "claimed", "pending")
    return refused


def renew(tx: Transaction, claims: Sequence[Claim], lease_until: float) -> list[Claim]:
    """Moves the end of leases; returns the claims that were refused."""
    statement = f"UPDATE job SET due_at = ? WHERE {_HELD}"
    execute = tx.cursor.execute
    return [
        held for held in claims if not execute(statement, (lease_until, held.number, held.token)).rowcount
    ]


def requeue(tx: Transaction, id: str, now: float) -> bool:
    """Gives a dead letter all its attempts again; False if no dead job has this id."""
    freed = tx.cursor.execute(
        "UPDATE job SET state = 'pending', due_at = ?, attempts = 0, owner = NULL"
        " WHERE id = ? AND state = 'dead'",
        (now, id),
    ).rowcount
    tx.move(freed, "dead", "pending")
    return freed == 1
