"""What can go wrong with durable work, separated by whose turn it is to act.

`DurableError` is the root. Below it: a store that is not ours to use (`StoreUnusable` and its kinds), one
that cannot take the write now (`StoreUnavailable`: nothing was written), a commit that nobody can tell
about (`OutcomeUnknown`), somebody who came too late (`Fenced`), and rows that cannot be used (`Corrupted`
and its kinds, which isolate one actor). Every class survives pickling, because crash reports cross
processes.
"""

from __future__ import annotations

from typing import ClassVar

from .._kernel._errors import KoboshiError, UsageError

__all__ = [
    "ActorExists",
    "Corrupted",
    "DurableError",
    "ExtraNeeded",
    "Fenced",
    "ForeignStore",
    "HostLost",
    "NoSuchRevision",
    "NoUpcaster",
    "OutcomeUnknown",
    "OwnedElsewhere",
    "PayloadTooLarge",
    "QueueFull",
    "Refused",
    "RequestMismatch",
    "SchemaTooNew",
    "StatementRefused",
    "StoreClosed",
    "StoreDamaged",
    "StoreUnavailable",
    "StoreUnusable",
    "TaskCancelled",
    "TaskFailed",
    "TaskNotFound",
    "TaskTimeout",
    "UnknownTask",
    "UnknownType",
    "UpcasterFailed",
    "WrongKey",
    "WrongSchemaVersion",
    "is_own_fault",
]


class DurableError(KoboshiError):
    """Root of all that durable work raises."""


class Refused(DurableError):
    """Raise it, or a subclass, in a durable handler to undo the turn and give the caller this error.

    The actor goes on with the state from before the turn: a rule of the business has said no, and nothing
    is broken.
    """


class RequestMismatch(DurableError, UsageError):
    """A request's id came again with another message or other arguments; nothing was done for it.

    Or the id of a saga came again, with another input.

    Attributes:
        kept: the message that was handled, or recorded, under the id; of a saga "start".
        came: the message that came now.
    """

    def __init__(self, actor: str, request: str, kept: str, came: str, *, text: str = "") -> None:
        what = "with other arguments" if came == kept else f"as {came}"
        super().__init__(
            text
            or f"the request {request!r} of {actor} is kept as {kept}, and came again {what}; what is kept is no "
            "answer to that: give each request an id of its own"
        )
        self.actor = actor
        self.request = request
        self.kept = kept
        self.came = came


class StoreUnusable(DurableError):
    """What is at the URL cannot be used as a store; nothing was changed there.

    Attributes:
        url: the store, without a password.
        found: what is there.
        advice: what to do.
    """

    def __init__(self, url: str, found: str, advice: str) -> None:
        super().__init__(f"cannot use {url} as a store: {found}; {advice}")
        self.url = url
        self.found = found
        self.advice = advice


class ForeignStore(StoreUnusable):
    """The place holds something else: a text file, another program's tables, a directory."""


class WrongSchemaVersion(StoreUnusable):
    """The tables are of an older or newer version; `koboshi db migrate URL` brings older ones up to date."""


class ExtraNeeded(StoreUnusable):
    """The URL names a database whose client is not installed."""


class StoreDamaged(DurableError):
    """The database reports that its contents are corrupt; the operation changed nothing."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            f"the store {url} is damaged: {detail}; stop the program, keep a copy of it (of the -wal file as "
            "well), and restore a backup"
        )
        self.url = url
        self.detail = detail


class StoreUnavailable(DurableError):
    """The store could not take the operation now. It was not executed; it may be tried again."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            f"the store {url} cannot be reached: {detail}; nothing was recorded, try again later"
        )
        self.url = url
        self.detail = detail


class StatementRefused(DurableError):
    """The database has refused a statement of the program's own; what it was part of was not recorded.

    Its cause is the driver's error. The values of the statement are not shown, as they may be nobody's business;
    what the database says itself may name one.

    Attributes:
        statement: the SQL, as it was given.
        detail: what the database says, the first line of it.
        of: whose turn it was, such as "Account/alice, deposit"; "" where it was no turn.
    """

    def __init__(self, statement: str, detail: str, of: str = "") -> None:
        super().__init__(
            f"the database has refused a statement{of and f' of {of}'}: {detail}; nothing of its transaction was "
            f"recorded; mend the statement or what it is given: {statement}"
        )
        self.statement = statement
        self.detail = detail
        self.of = of


def is_own_fault(error: Exception) -> bool:
    """Whether an operation has failed by what it wanted itself, whatever becomes of the store."""
    return isinstance(error, StatementRefused) or not isinstance(error, DurableError)


class OutcomeUnknown(DurableError):
    """The commit failed in a way that leaves open whether it happened.

    What carries an id may be repeated with the same id: it is recorded once.
    """

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(
            f"a commit to the store {url} failed with {detail!r} and may or may not have happened; repeat it "
            "with the same id, or look before you go on"
        )
        self.url = url
        self.detail = detail


class StoreClosed(DurableError):
    """The store is not open: its tree has not started yet, or has ended."""

    def __init__(self, url: str, state: str) -> None:
        super().__init__(f"the store {url} is {state}; put a child that uses it under a running supervisor")
        self.url = url
        self.state = state


class Fenced(DurableError):
    """Somebody else has taken over or erased the actor meanwhile: this turn was not recorded, nothing left it."""

    def __init__(self, actor: str) -> None:
        super().__init__(
            f"{actor} was taken over by another host, or erased, so this turn was not recorded; call again"
        )
        self.actor = actor


class OwnedElsewhere(DurableError):
    """Another host that is alive holds the actor, and it cannot be reached from here."""

    def __init__(self, actor: str, host: str) -> None:
        super().__init__(
            f"{actor} is held by the host {host}, which is alive; call it there, or wait until that host has "
            "let it go"
        )
        self.actor = actor
        self.host = host


class HostLost(DurableError):
    """The host of the actor was lost during the call; with the same request id it can be asked again."""

    def __init__(self, actor: str, message: str, outcome: str = "unknown") -> None:
        super().__init__(f"the host of {actor} was lost while it handled {message}; the outcome is {outcome}")
        self.actor = actor
        self.message = message
        self.outcome = outcome


class Corrupted(DurableError):
    """A row does not hold what was written into it; this actor does not start, all others go on."""

    # The end of the message. Nothing is wrong with the rows of most subclasses, so their advice is another one.
    _advice: ClassVar[str] = "restore its row from a backup"

    def __init__(self, actor: str, detail: str) -> None:
        super().__init__(f"the stored state of {actor} cannot be used: {detail}; {self._advice}")
        self.actor = actor
        self.detail = detail


class NoSuchRevision(DurableError):
    """The actor has not come so far."""

    def __init__(self, actor: str, revision: int, latest: int) -> None:
        super().__init__(f"{actor} has no revision {revision}; it has those from 0 to {latest}")
        self.actor = actor
        self.revision = revision
        self.latest = latest


class ActorExists(DurableError):
    """There is an actor with this key already; nothing was changed."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor} exists already and was not changed; fork to a key that nobody has")
        self.actor = actor


class WrongKey(Corrupted):
    """The row is encrypted with a key that the key ring does not have, or cannot open."""

    _advice = "nothing was changed, and it opens with the keys and options that it was written with"


class UnknownType(Corrupted):
    """The row holds a type that this program does not declare."""

    _advice = "nothing was changed, and it is read by a program that declares the type"


class NoUpcaster(Corrupted):
    """The row was written by an older version of its type, and nothing says how to bring it up to date."""

    _advice = "nothing was changed, and it is read once there is one"


class UpcasterFailed(Corrupted):
    """An upcaster has failed on a row, or made of it what does not fit the newer type; its cause is that error."""

    _advice = "nothing was changed, and it is read once the upcaster is mended"


class SchemaTooNew(Corrupted):
    """The row was written by a newer version of this program."""

    _advice = "nothing was changed"


class PayloadTooLarge(DurableError):
    """A state, event, message or result is over the limit; nothing was recorded."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} takes {size:,} bytes and the limit is {limit:,}; keep large data in files or object "
            "storage and a reference here"
        )
        self.what = what
        self.size = size
        self.limit = limit


class QueueFull(DurableError):
    """The queue has no room for what was put, as its `limit` says; nothing was put.

    Attributes:
        count: how many tasks were put at once.
    """

    def __init__(self, queue: str, limit: int, count: int = 1) -> None:
        if count > limit:
            what = (
                f"the queue {queue!r} takes {limit:,} waiting tasks, its limit, and {count:,} were put at once, for "
                "which it never has room; put them in smaller portions, or raise the limit"
            )
        else:
            more = "one more" if count == 1 else f"{count:,} more"
            what = (
                f"the queue {queue!r} has no room for {more}: its limit is {limit:,} tasks waiting; put again later, "
                "wait for room with when_full='wait', or raise the limit"
            )
        super().__init__(what)
        self.queue = queue
        self.limit = limit
        self.count = count


class UnknownTask(DurableError):
    """A stored task names a function that this program has not registered; the task waits for one that has."""

    def __init__(self, queue: str, function: str) -> None:
        super().__init__(
            f"the queue {queue!r} holds a task of {function!r}, which is not registered here; import the module "
            f"that has it under @kb.task, or give the new function its old name: @kb.task(name={function!r})"
        )
        self.queue = queue
        self.function = function


class TaskFailed(DurableError):
    """The task is a dead letter: it has failed as often as it may. `report` says how it failed last."""

    def __init__(self, queue: str, task: str, report: str) -> None:
        line = report.partition("\n")[0]
        super().__init__(f"the task {task!r} of the queue {queue!r} has failed: {line}")
        self.queue = queue
        self.task = task
        self.report = report


class TaskTimeout(DurableError):
    """An attempt took longer than its task's `timeout`; its worker was killed, or its coroutine cancelled."""

    def __init__(self, function: str, timeout: float) -> None:
        super().__init__(
            f"{function} ran for longer than its timeout of {timeout:g} s; raise @kb.task(timeout=...), or give "
            "it less to do"
        )
        self.function = function
        self.timeout = timeout


class TaskCancelled(DurableError):
    """The task was cancelled before it had a result."""

    def __init__(self, queue: str, task: str) -> None:
        super().__init__(f"the task {task!r} of the queue {queue!r} was cancelled")
        self.queue = queue
        self.task = task


class TaskNotFound(DurableError):
    """The queue has no such task: it was never put, or its result was kept for `keep_results` and is gone."""

    def __init__(self, queue: str, task: str) -> None:
        super().__init__(
            f"the queue {queue!r} has no task {task!r}: it was never put, or it ended longer ago than "
            "keep_results"
        )
        self.queue = queue
        self.task = task
