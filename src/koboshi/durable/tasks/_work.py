"""One attempt, where it runs: in a worker process, or on the event loop."""

from __future__ import annotations

from typing import Any

import msgspec

from .._error_text import text_of, trace_of
from .._failures import PayloadTooLarge
from . import _turn
from ._rows import TaskRow
from ._task import Task
from ._turn import Statement, Turn

__all__ = ["Unfit", "effects_of", "perform", "perform_async", "report_of"]

Effects = tuple[bytes, list[Statement], list[TaskRow]]


class Unfit(Exception):
    """The stored arguments are not what the function takes now: no further attempt would help."""


def perform(task: Task[..., Any], limit: int, payload: bytes, id: str, attempt: int) -> bytes | Effects:
    """In a worker: run the function; its stored result, with what it wants to be done beside it."""
    args, kwargs = _arguments(task, payload)
    turn = Turn(id, attempt)
    token = _turn.begin(turn)
    try:
        value = task.function(*args, **kwargs)
    finally:
        _turn.end(token)
    return _packed(task, limit, value, turn)


async def perform_async(
    task: Task[..., Any], limit: int, payload: bytes, id: str, attempt: int
) -> bytes | Effects:
    """On the event loop: run the coroutine function."""
    args, kwargs = _arguments(task, payload)
    turn = Turn(id, attempt)
    token = _turn.begin(turn)
    try:
        value = await task.function(*args, **kwargs)
    finally:
        _turn.end(token)
    return _packed(task, limit, value, turn)


def _arguments(task: Task[..., Any], payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return task.codec.decode_arguments(payload)
    except msgspec.MsgspecError as error:
        raise Unfit(
            f"the stored arguments are not those that the task {task.name} takes now: {error}; give new parameters "
            "a default, or the new function another name"
        ) from error


def _packed(task: Task[..., Any], limit: int, value: object, turn: Turn) -> bytes | Effects:
    result = task.codec.encode_result(value)
    if len(result) > limit:
        raise PayloadTooLarge(f"the result of the task {task.name}", len(result), limit)
    if turn.statements or turn.rows:
        return result, turn.statements, turn.rows
    return result


def effects_of(outcome: bytes | Effects) -> Effects:
    """An outcome in its long form."""
    return (outcome, [], []) if isinstance(outcome, bytes) else outcome


def report_of(error: BaseException, attempt: int) -> str:
    """The text kept with a task: one line that says what happened, then the traceback."""
    return f"attempt {attempt}: {type(error).__name__}: {text_of(error)}\n\n{trace_of(error)}"
