"""Errors of steps: as they are stored, and as `run` sees them, which is the same at first and after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from .._error_text import text_of, trace_of
from .._failures import DurableError
from ..actors._codec import Codec
from ._errors import EventTimeout, SagaCancelled, StepFailed, StepOutcomeUnknown, StepTimeout
from ._journal import Failure

__all__ = ["Declared", "error_of", "failure_of", "outcome_of", "worn_out"]

Declared = tuple[type[Exception], ...]

#: What became of an operation that is no error of a step's function.
UNKNOWN = Failure("unknown", "StepOutcomeUnknown", "begun and not recorded")
CANCELLED = Failure("cancelled", "SagaCancelled", "cancelled")
NO_EVENT = Failure("event", "EventTimeout", "it did not come in time")
_MOST_REPORT = 20_000


def worn_out(times: int) -> Failure:
    """What becomes of a step or a compensation that is not begun again, since program after program died of it."""
    return Failure("error", "Interrupted", f"the programs that ran it have died during it, {times} times")


def failure_of(error: BaseException, declared: Declared, *, timed_out: bool = False) -> Failure:
    """An exception as it is stored. Of one that is declared the arguments are kept, if they can be."""
    report = trace_of(error, _MOST_REPORT)
    if timed_out:
        return Failure("timeout", "TimeoutError", "it took longer than its timeout", report)
    if isinstance(error, SagaCancelled):
        return Failure("cancelled", "SagaCancelled", text_of(error), report)
    known = next((each for each in type(error).__mro__ if each in declared), None)
    if known is None:
        return Failure("error", type(error).__qualname__, text_of(error), report)
    try:
        args = msgspec.msgpack.encode(error.args)
    except (TypeError, ValueError):
        args = msgspec.msgpack.encode((text_of(error),))
    return Failure("declared", known.__qualname__, text_of(error), report, args)


def outcome_of(
    run: asyncio.Task[Any], who: str, codec: Codec, declared: Declared
) -> tuple[bytes, Failure | None]:
    """What a `run` that has ended has come to: its result as it is stored, or its failure."""
    error: BaseException | None = (
        asyncio.CancelledError("run was cancelled from within") if run.cancelled() else run.exception()
    )
    if error is None:
        try:
            return codec.storable("the result", who, codec.encode(run.result())), None
        except Exception as mistake:
            error = mistake
    return b"", failure_of(error, declared)


def error_of(failure: Failure, name: str, saga: str, declared: Declared) -> Exception:
    """The exception that `run` gets for a step or a wait of that name."""
    if failure.kind == "timeout":
        return StepTimeout(name, failure.type, failure.detail, failure.report)
    if failure.kind == "unknown":
        return StepOutcomeUnknown(name)
    if failure.kind == "cancelled":
        return SagaCancelled(saga)
    if failure.kind == "event":
        return EventTimeout(name)
    if failure.kind == "declared":
        for cls in declared:
            if cls.__qualname__ == failure.type:
                made = _made(cls, failure.args or b"\x90")
                if made is not None:
                    return made
    return StepFailed(name, failure.type, failure.detail, failure.report)


def _made(cls: type[Exception], args: bytes) -> Exception | None:
    """The declared exception, unless its constructor takes something else than it gives to `args`."""
    values: list[Any] = msgspec.msgpack.decode(args)
    try:
        return cls(*values)
    except (TypeError, ValueError, DurableError):
        return None
