"""Work that survives any crash: durable actors, and the task ledger with the task processor built on it."""

import sys
from types import ModuleType
from typing import Any

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
from .actors import durable

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
    "durable",
]


class _Layer(ModuleType):
    """This package can be called: `kb.durable` is its name and that of the function, and both are used."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return durable(*args, **kwargs)


sys.modules[__name__].__class__ = _Layer
