"""Work that survives any crash: the task ledger, and the task processor that is built on it."""

from ._backoff import Backoff
from ._errors import (
    LedgerClosed,
    LedgerDamaged,
    LedgerError,
    LedgerInUse,
    LedgerUnusable,
    NotALedger,
    OutcomeUnknown,
    StaleClaim,
    StoreUnavailable,
    WrongLedgerVersion,
)
from ._fold import Fold
from ._jobs import Claim, Counts, DeadLetter, Job, JobState, LedgerStatistics, Result
from ._ledger import MAX_BYTES, Ledger
from ._processor import ProcessorStatistics, TaskProcessor

__all__ = [
    "MAX_BYTES",
    "Backoff",
    "Claim",
    "Counts",
    "DeadLetter",
    "Fold",
    "Job",
    "JobState",
    "Ledger",
    "LedgerClosed",
    "LedgerDamaged",
    "LedgerError",
    "LedgerInUse",
    "LedgerStatistics",
    "LedgerUnusable",
    "NotALedger",
    "OutcomeUnknown",
    "ProcessorStatistics",
    "Result",
    "StaleClaim",
    "StoreUnavailable",
    "TaskProcessor",
    "WrongLedgerVersion",
]
