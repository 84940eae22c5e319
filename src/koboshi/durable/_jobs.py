"""The values a ledger takes and gives: plain, frozen, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Claim", "Counts", "DeadLetter", "Job", "JobState", "LedgerStatistics", "Result"]


class JobState(StrEnum):
    """Where a job stands; the values are what the file holds."""

    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one attempt of one job, until its lease runs out and somebody else claims it.

    Attributes:
        number: the job's place in the order of `put`, from 1.
        attempt: which attempt this is, from 1.
        token: fresh for each claim; what the ledger checks before it records anything.
    """

    id: str
    payload: bytes
    attempt: int
    owner: str
    number: int
    token: bytes

    def __repr__(self) -> str:
        return f"<Claim {self.id!r} attempt={self.attempt} owner={self.owner!r} {len(self.payload)} bytes>"


@dataclass(frozen=True, slots=True)
class Result:
    """What one job returned. `position` counts results in commit order, from 1."""

    position: int
    id: str
    value: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that will not be tried again by itself; `report` says why."""

    number: int
    id: str
    payload: bytes
    attempts: int
    report: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands now.

    Attributes:
        due_at: seconds since the epoch; while pending, not before this; while claimed, the end of
            the lease; otherwise None.
        report: the last failure's text, if any.
        value: the result, if done.
    """

    id: str
    state: JobState
    attempts: int
    owner: str | None
    due_at: float | None
    report: str | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs stand where."""

    pending: int = 0
    claimed: int = 0
    done: int = 0
    dead: int = 0

    @property
    def total(self) -> int:
        """All jobs that were ever put."""
        return self.pending + self.claimed + self.done + self.dead


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    """What the writer did since `open`; durations in seconds.

    Attributes:
        groups: transactions committed.
        operations: calls answered by those commits.
        rows: jobs that those calls touched or read.
        largest_group: most operations in one transaction.
        isolated_groups: groups that were run a second time, because one operation was bad.
        failed_groups: groups that were not committed, or whose outcome is unknown.
        reopened: how often the file was opened again after a failure.
        queued: operations that wait now.
        last_commit: how long the last group took, BEGIN to COMMIT.
    """

    groups: int
    operations: int
    rows: int
    largest_group: int
    isolated_groups: int
    failed_groups: int
    reopened: int
    queued: int
    last_commit: float
