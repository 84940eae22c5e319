"""Why a process ended, and the three messages that tell others about it.

An exit reason is a value: it is compared, printed, pickled, and decides whether a
supervisor restarts a child. All of them live here.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._bonds import Monitor
    from ._ref import ActorRef


class ExitReason:
    """Why a process ended."""

    __slots__ = ()

    @property
    def clean(self) -> bool:
        """Whether a transient child that ends so is left alone."""
        return False


@dataclass(frozen=True, slots=True)
class Normal(ExitReason):
    """The process had nothing left to do."""

    @property
    def clean(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Shutdown(ExitReason):
    """The process was asked to stop in good order; `detail` says what for."""

    detail: object = None

    @property
    def clean(self) -> bool:
        return not isinstance(self.detail, GaveUp)


@dataclass(frozen=True, slots=True)
class Kill(ExitReason):
    """The signal that no process can trap; its victim ends with `Killed`."""


@dataclass(frozen=True, slots=True)
class Killed(ExitReason):
    """The process was ended by `Kill`; `cause` names a signal or limit, if one is known."""

    cause: object = None


@dataclass(frozen=True, slots=True)
class Exited(ExitReason):
    """An abnormal end with a value of the program's own and no traceback."""

    value: object


@dataclass(frozen=True, slots=True)
class NoProc(ExitReason):
    """There is no such process, and perhaps there never was one."""


@dataclass(frozen=True, slots=True)
class NoConnection(ExitReason):
    """The node that hosted the process cannot be reached any more; `cause` says how it ended, if known."""

    node: str = ""
    cause: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Crashed(ExitReason):
    """An exception escaped from the process's code.

    Two crashes are equal when the errors have one type and equal arguments: exceptions
    themselves compare by identity, which would not survive a pickle.
    """

    error: BaseException

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Crashed):
            return NotImplemented
        return type(self.error) is type(other.error) and self.error.args == other.error.args

    def __hash__(self) -> int:
        return hash((Crashed, type(self.error)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Crashed, (portable_error(self.error),)


class RemoteError(Exception):
    """Stands for an exception that could not be rebuilt where it was received.

    Args:
        type_name: qualified name of the original class.
        message: what `str` of the original said.
        trace: the original traceback, as text.
    """

    def __init__(self, type_name: str, message: str, trace: str) -> None:
        super().__init__(type_name, message, trace)
        self.type_name = type_name
        self.message = message
        self.trace = trace

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}"


def portable_error(error: BaseException) -> BaseException:
    """The error itself when a pickle of it can be rebuilt, else a `RemoteError` that describes it."""
    try:
        # A class with two constructor arguments pickles well and then fails to load, so the
        # constructor is tried here as the receiver will call it.
        pickle.dumps(error)
        recipe = error.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        rebuilt = recipe[0](*recipe[1]) if isinstance(recipe, tuple) else None
    except Exception as unportable:
        return _described(error, unportable)
    return error if type(rebuilt) is type(error) else _described(error, None)


def _described(error: BaseException, unportable: Exception | None) -> RemoteError:
    kind = type(error)
    trace = "".join(traceback.format_exception(error))
    if unportable is not None:
        trace += f"(sent as text: {type(unportable).__name__}: {unportable})\n"
    return RemoteError(f"{kind.__module__}.{kind.__qualname__}", str(error), trace)


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Detail of a supervisor's exit: the child that spent the restart budget, and its last end."""

    child: object
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class FailedToStart:
    """Detail of a supervisor's exit: the child that did not start, and why."""

    child: object
    reason: ExitReason


def first_error(reason: ExitReason) -> BaseException | None:
    """The exception at the bottom of a reason: through supervisors that gave up or did not start."""
    while isinstance(reason, Shutdown) and isinstance(reason.detail, GaveUp | FailedToStart):
        reason = reason.detail.reason
    return reason.error if isinstance(reason, Crashed) else None


@dataclass(frozen=True, slots=True)
class Exit:
    """A linked process ended, or somebody asked this one to; only a process that traps exits sees it."""

    sender: ActorRef[Any]
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored process is gone. Each monitor yields exactly one."""

    monitor: Monitor
    target: ActorRef[Any]
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Timeout:
    """What `receive` returns when nothing that it waits for came in time."""


NORMAL = Normal()
SHUTDOWN = Shutdown()
KILL = Kill()
KILLED = Killed()
NOPROC = NoProc()


def as_reason(value: object) -> ExitReason:
    """Reads any value as an exit reason: an exception is a crash, other values are `Exited`."""
    if isinstance(value, ExitReason):
        return value
    if isinstance(value, BaseException):
        return Crashed(value)
    return Exited(value)
