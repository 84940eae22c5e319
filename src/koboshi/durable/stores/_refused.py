"""A statement of the program's own that the database has refused, as one error for all engines."""

from __future__ import annotations

from .._error_text import first_line
from .._failures import StatementRefused

__all__ = ["refused"]


def refused(statement: str, error: BaseException) -> StatementRefused:
    """What to raise from the driver's error.

    Raise it from that error without its traceback, which is all ours.
    """
    return StatementRefused(statement, first_line(error))
