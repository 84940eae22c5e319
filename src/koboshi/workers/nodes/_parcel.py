"""What a message carries, packed for another process: arguments, values, errors, exit reasons.

Small immutable values travel as they are and are pickled with all that leaves in one tick. Anything
else is pickled by itself, at the moment it is sent: two messages never share an object, what its owner
changes afterwards is not seen, and a failure hits the one message.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, cast

from ..._kernel._errors import ActorExited, StartError
from ..._kernel._reasons import NORMAL, Crashed, ExitReason, first_error
from ...wire import FrameTooLarge, NotPicklable, WireError
from ...wire._buffers import BufferedPickle, unpack
from ...wire._buffers import pack as pack_buffers
from ...wire._pickle import dumps, is_small, loads
from ..process._outcomes import Failure, decode, encode_error, format_error, set_remote_cause

LIMIT = 64 * 1024 * 1024
_NO_KWARGS: dict[str, Any] = {}

Packed = tuple[Any, ...] | bytes | BufferedPickle


def pack_args(args: Any, kwargs: dict[str, Any] | None, what: str) -> Packed:
    """Pack a message's arguments; with None for `kwargs` there is one, and it is `args`.

    Raises:
        NotPicklable, FrameTooLarge: they cannot be sent.
    """
    if kwargs is None:
        if is_small(args):
            return (args,)
        args, kwargs = (args,), _NO_KWARGS
    elif not kwargs:
        for each in args:
            if not is_small(each):
                break
        else:
            return args  # type: ignore[no-any-return]
    return pack((args, kwargs), what, parts=args)


def unpack_args(packed: Packed) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments; raises what their unpickling raises."""
    if type(packed) is tuple:
        return packed, _NO_KWARGS
    args, kwargs = unpack(cast("bytes | BufferedPickle", packed))
    return args, kwargs


def pack(value: Any, what: str, *, parts: Iterable[Any] = ()) -> bytes | BufferedPickle:
    """Pickle one value; large buffers in it are left out and travel by shared memory.

    Raises:
        NotPicklable, FrameTooLarge: it cannot be sent.
    """
    try:
        return pack_buffers(value, LIMIT, what=f"what is sent with {what}", parts=parts)
    except WireError:
        raise
    except Exception as error:
        raise NotPicklable(what, _culprit(value), f"{type(error).__name__}: {error}") from error


def pack_whole(value: Any, what: str) -> bytes:
    """Pickle one value into bytes alone, for what is passed on and opened elsewhere; raises as `pack`."""
    try:
        blob = dumps(value)
    except Exception as error:
        raise NotPicklable(what, _culprit(value), f"{type(error).__name__}: {error}") from error
    if len(blob) > LIMIT:
        raise FrameTooLarge(f"what is sent with {what}", len(blob), LIMIT)
    return blob


def _culprit(value: Any) -> str:
    """The argument that cannot be sent, as its sender would call it."""
    parts: Any = value
    args, kwargs = parts if isinstance(parts, tuple) and len(parts) == 2 else ((), {})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(args, tuple) and isinstance(kwargs, dict):
        named: list[tuple[str, Any]] = [(f"argument {n}", each) for n, each in enumerate(args, 1)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        named += [(f"argument {name!r}", each) for name, each in kwargs.items()]  # pyright: ignore[reportUnknownVariableType]
        for name, each in named:
            try:
                dumps(each)
            except Exception:
                return f"{name} ({type(each).__qualname__})"
    return "an argument"


def pack_error(error: BaseException) -> bytes:
    """Pack the error that a caller is to see."""
    if isinstance(error, ActorExited | StartError):
        # Its reason may have a value of the user's own, which must not cost the caller its answer.
        shell = copy.copy(error)
        shell.reason, shell.__cause__ = NORMAL, None
        return dumps((dumps(shell), pack_reason(error.reason)))
    return dumps(encode_error(error, LIMIT))


def unpack_error(packed: bytes) -> BaseException:
    """The error; one that cannot be rebuilt here comes as a `RemoteError`."""
    parts = loads(packed)
    if len(parts) == 2:
        error: ActorExited | StartError = loads(parts[0])
        error.reason = unpack_reason(parts[1])
        error.__cause__ = first_error(error.reason)
        return error
    failure = decode(parts)
    assert type(failure) is Failure
    return failure.error


def pack_reason(reason: ExitReason) -> bytes:
    """Pack an exit reason, with its traceback as text."""
    cause = first_error(reason)
    text = "" if cause is None else format_error(cause)
    try:
        return dumps((dumps(reason), text))
    except Exception as error:  # a value of the user's own, in `Exited` or `Shutdown`
        told = NotPicklable("an exit reason", repr(reason), f"{type(error).__name__}: {error}")
        return dumps((dumps(Crashed(told)), text))


def unpack_reason(packed: bytes) -> ExitReason:
    """The exit reason; one that cannot be rebuilt here is a crash with the error that says so."""
    blob, text = loads(packed)
    try:
        reason: ExitReason = loads(blob)
    except BaseException as error:  # what users' code raises here is no end of this process
        return Crashed(error)
    cause = first_error(reason)
    if cause is not None and text:
        set_remote_cause(cause, text)
    return reason
