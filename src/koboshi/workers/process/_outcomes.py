"""What a job came to, on its way from the worker to the root.

On the wire an outcome is the bare value when it is small, else a tuple:
(VALUE, pickle) or (VALUE, BufferedPickle), (RAISED, pickle of the exception, traceback text), or
(REMOTE, type name, message, traceback text). A bare value is never a tuple.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any

from ...wire import BuffersLost, DescriptorsExhausted, FrameBroken, FrameTooLarge
from ...wire._buffers import pack, unpack
from ...wire._pickle import dumps, is_small, loads
from .._errors import RemoteError, RemoteTraceback, ResultNotPicklable

__all__ = [
    "Failure",
    "NumberedOutcomes",
    "decode",
    "encode_error",
    "encode_value",
    "format_error",
    "is_failure",
    "read_outcomes",
    "set_remote_cause",
]

VALUE, RAISED, REMOTE = 0, 1, 2


class NumberedOutcomes(list[Any]):
    """Encoded outcomes of a worker that has several jobs in hand, and the numbers of those jobs."""

    def __init__(self, numbers: Iterable[int], outcomes: Iterable[Any]) -> None:
        super().__init__(outcomes)
        self.numbers = list(numbers)


class Failure:
    """A job's failure as a value: `error` is what its caller will see raised."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"<Failure {self.error!r}>"


def encode_value(value: object, limit: int) -> object:
    """In the worker: pack a result; a failure to pack it becomes the job's failure."""
    if is_small(value):
        return value
    try:
        what = f"a result of type {_type_name(type(value))}"
        return (VALUE, pack(value, limit, what=what, parts=(value,)))
    except (FrameTooLarge, DescriptorsExhausted) as error:
        return encode_error(error.with_traceback(None), limit)
    except Exception as error:
        name = _type_name(type(value))
        failure = ResultNotPicklable(name, f"{type(error).__name__}: {error}")
        return encode_error(failure, limit)


def encode_error(error: BaseException, limit: int) -> tuple[object, ...]:
    """In the worker: pack what a job raised.

    Only an `Exception` that survives the round trip, tried here, crosses as itself.
    SystemExit, KeyboardInterrupt and their kind would end the loop that receives
    them, and StopIteration cannot be put into a Future: they cross as RemoteError.
    """
    text = format_error(error)
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
        try:
            blob = dumps(error)
            if type(loads(blob)) is type(error) and len(blob) <= limit:
                return (RAISED, blob, text)
        except BaseException:  # noqa: S110 - its own pickling failed: the text form below says what was raised
            pass
    return (REMOTE, _type_name(type(error)), _message(error)[:65536], text)


def read_outcomes(payload: memoryview, done: int, sent: int) -> tuple[int, list[Any]]:
    """In the root: the first job's number and the outcomes in a frame, which a job may have made up.

    Raises:
        FrameBroken: a worker that has answered `done` of `sent` jobs cannot have sent it.
    """
    try:
        first, outcomes = loads(payload)
        fits = first <= done and first + len(outcomes) <= sent
    except Exception as error:
        raise FrameBroken(f"{type(error).__name__}: {error}") from error
    if not fits:
        raise FrameBroken(f"outcomes of {len(outcomes)} jobs from number {first}")
    return first, outcomes


def is_failure(outcome: Any) -> bool:
    """Whether `outcome`, as it came from the worker, is a failure."""
    return outcome.__class__ is tuple and outcome[0] != VALUE


def decode(outcome: Any) -> Any:
    """In the root: the value, or a Failure."""
    if outcome.__class__ is not tuple:
        return outcome
    parts: tuple[Any, ...] = outcome
    if parts[0] == REMOTE:
        return Failure(_with_cause(RemoteError(*parts[1:]), parts[3]))
    try:
        value = unpack(parts[1])
    except BaseException as error:  # whatever users' code raises here is this one job's outcome
        if isinstance(error, BuffersLost):
            return Failure(error)
        problem = f"it cannot be rebuilt here: {type(error).__name__}: {error}"
        if parts[0] == VALUE:
            return Failure(ResultNotPicklable("unknown", problem))
        return Failure(_with_cause(RemoteError("an exception", problem, parts[2]), parts[2]))
    if parts[0] == VALUE:
        return value
    if not isinstance(value, Exception):
        return Failure(_with_cause(RemoteError("an exception", repr(value), parts[2]), parts[2]))
    return Failure(_with_cause(value, parts[2]))


def _with_cause(error: Exception, text: str) -> Exception:
    set_remote_cause(error, text)
    return error


def set_remote_cause(error: BaseException, text: str) -> None:
    """Chain the traceback of the other process to `error`, whatever its class makes of attributes."""
    # A frozen dataclass, say, refuses `error.__cause__ = ...`; `raise ... from` does not ask it either.
    BaseException.__setattr__(error, "__cause__", RemoteTraceback(text))


def format_error(error: BaseException) -> str:
    """Return the traceback without our own frames, even for an error that cannot print itself."""
    tb = error.__traceback__
    own = __name__.partition(".")[0] + "."
    while tb is not None and str(tb.tb_frame.f_globals.get("__name__", "")).startswith(own):
        tb = tb.tb_next
    try:
        lines = traceback.format_exception(type(error), error, tb)
    except BaseException as problem:  # from its `__str__`, which is the job's code as much as the rest
        return f"{_type_name(type(error))} (its traceback cannot be printed: {type(problem).__name__})\n"
    return "".join(lines)[-65536:]


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as problem:
        return f"(its message cannot be printed: {type(problem).__name__})"


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
