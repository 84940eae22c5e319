"""A statement of the program's own that the database has refused, as one error for all engines."""

from __future__ import annotations

from .._error_text import text_of
from .._failures import StatementRefused

__all__ = ["refused"]


def refused(statement: str, error: BaseException) -> StatementRefused:
    """What to raise from the driver's error.

    Of its text the first line: what servers add below that quotes whole rows. Raise it from that error without its
    traceback, which is all ours.
    """
    line = text_of(error).strip().partition("\n")[0]
    return StatementRefused(statement, line or type(error).__name__)
