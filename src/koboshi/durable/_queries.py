"""What can be read from a ledger, as SQL; nothing here writes."""

from __future__ import annotations

from ._jobs import Counts, DeadLetter, Job, JobState, Result
from ._transitions import Transaction

__all__ = ["counts", "dead_letters", "job", "next_due", "results"]


def counts(tx: Transaction) -> Counts:
    """How many jobs stand where, with what this transaction has moved: the tally has that at its end."""
    tally = tx.cursor.execute("SELECT state, jobs FROM tally").fetchall()
    return Counts(**{state: jobs + tx.moved.get(state, 0) for state, jobs in tally})


def job(tx: Transaction, id: str) -> Job | None:
    """One job as it stands, or None."""
    row = tx.cursor.execute(
        "SELECT state, attempts, owner, due_at, report, value"
        " FROM job LEFT JOIN result USING (position) WHERE id = ?",
        (id,),
    ).fetchone()
    return None if row is None else Job(id, JobState(row[0]), *row[1:])


def results(tx: Transaction, after: int, limit: int) -> list[Result]:
    """The next results in commit order."""
    rows = tx.cursor.execute(
        "SELECT result.position, job.id, result.value FROM result JOIN job ON job.number = result.number"
        " WHERE result.position > ? ORDER BY result.position LIMIT ?",
        (after, limit),
    )
    return [Result(*row) for row in rows]


def dead_letters(tx: Transaction, after: int, limit: int) -> list[DeadLetter]:
    """The next dead letters in the order of `put`."""
    rows = tx.cursor.execute(
        "SELECT number, id, payload, attempts, coalesce(report, '') FROM job"
        " WHERE state = 'dead' AND number > ? ORDER BY number LIMIT ?",
        (after, limit),
    )
    return [DeadLetter(*row) for row in rows]


def next_due(tx: Transaction) -> float | None:
    """The earliest time at which something can be claimed, or None if no job is left."""
    due = [
        row[0]
        for state in ("pending", "claimed")
        for row in tx.cursor.execute(
            "SELECT due_at FROM job WHERE state = ? AND due_at IS NOT NULL ORDER BY due_at LIMIT 1", (state,)
        )
    ]
    return min(due, default=None)
