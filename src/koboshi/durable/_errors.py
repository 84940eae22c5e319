"""What can go wrong with durable work, separated by whose turn it is to act.

`LedgerError` is the base. Below it: the file is not ours to use (`LedgerUnusable` and its kinds), the
caller is late (`StaleClaim`), the store cannot take the write now (`StoreUnavailable`, nothing was
written), nobody can tell (`OutcomeUnknown`), or the ledger is not open (`LedgerClosed`).
Every class survives pickling, because crash reports cross processes.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "LedgerClosed",
    "LedgerDamaged",
    "LedgerError",
    "LedgerInUse",
    "LedgerUnusable",
    "NotALedger",
    "OutcomeUnknown",
    "StaleClaim",
    "StoreUnavailable",
    "WrongLedgerVersion",
]


class LedgerError(Exception):
    """Base of everything a ledger raises."""

    def __reduce__(self) -> tuple[Any, ...]:  # Any: the shape pickle asks for
        # Exceptions are rebuilt from `args`, which holds the finished message and not the
        # constructor's arguments; so rebuild without calling the constructor.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[LedgerError], args: tuple[object, ...], state: dict[str, object]) -> LedgerError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class LedgerUnusable(LedgerError):
    """The file at `path` cannot be opened as a ledger; nothing was changed in it."""

    def __init__(self, path: str, found: str, advice: str) -> None:
        self.path = path
        self.found = found
        self.advice = advice
        super().__init__(f"cannot open {path!r} as a ledger: {found}; {advice}")


class NotALedger(LedgerUnusable):
    """The path holds something else: a text file, another program's database, a directory."""


class WrongLedgerVersion(LedgerUnusable):
    """The ledger was written by a version with another table layout."""


class LedgerInUse(LedgerUnusable):
    """Another live process (or another `Ledger` of this one) holds the file."""


class LedgerDamaged(LedgerError):
    """SQLite reports that the file's contents are corrupt; the operation changed nothing."""

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(
            f"the ledger {path!r} is damaged: SQLite says {detail!r}; stop the program, keep a copy of "
            f"the file and of {path + '-wal'!r}, and restore a backup or use sqlite3's .recover"
        )


class StaleClaim(LedgerError):
    """The job is no longer held under this claim; nothing was changed for it.

    Attributes:
        jobs: the ids of the jobs that were refused. Other jobs of the same call were recorded.
    """

    def __init__(self, operation: str, jobs: tuple[str, ...]) -> None:
        self.operation = operation
        self.jobs = jobs
        names = ", ".join(map(repr, jobs[:5])) + (f" and {len(jobs) - 5} more" if len(jobs) > 5 else "")
        super().__init__(
            f"cannot {operation} {names}: expected a claim that still holds the job, but its lease ran out "
            "and the job was given to another owner, or the claim was already settled; drop this result, "
            "and renew the claim or claim with a longer lease if the work takes longer"
        )


class StoreUnavailable(LedgerError):
    """The store could not take the operation now. It was not executed; it may be tried again."""

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(
            f"the ledger {path!r} cannot be written: {detail}; nothing was recorded, try again later"
        )


class OutcomeUnknown(LedgerError):
    """The commit failed in a way that leaves open whether it happened.

    Asking again tells: `put` and `acknowledge` may be repeated safely, the others can be checked
    with `Ledger.job`.
    """

    def __init__(self, path: str, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(
            f"a commit to the ledger {path!r} failed with {detail!r} and may or may not have happened; "
            "repeat put or acknowledge (both are safe), or look at the job before you go on"
        )


class LedgerClosed(LedgerError):
    """The ledger is not open: never opened, closing, or closed."""

    def __init__(self, path: str, state: str) -> None:
        self.path = path
        self.state = state
        super().__init__(
            f"the ledger {path!r} is {state}; use it inside `async with Ledger(path) as ledger:`"
        )
