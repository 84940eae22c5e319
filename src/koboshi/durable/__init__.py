"""Work that survives any crash: the task ledger."""

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
    "Result",
    "StaleClaim",
    "StoreUnavailable",
    "WrongLedgerVersion",
]
