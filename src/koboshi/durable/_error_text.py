"""Errors as text that every store takes, whatever a program has raised."""

from __future__ import annotations

import traceback

__all__ = ["first_line", "storable", "text_of", "trace_of"]

# Characters.
_MOST_TEXT = 16 * 1024
_MOST_TRACE = 64 * 1024


def storable(text: str) -> str:
    """The text without lone surrogates and zeros, which databases cannot store; file names bring such."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def text_of(error: BaseException, most: int = _MOST_TEXT) -> str:
    """What the error says, or that it cannot say it."""
    try:
        text = str(error)
    except Exception as failure:
        return f"<its text cannot be made: {type(failure).__name__}>"
    return storable(text if len(text) <= most else f"{text[:most]}...")


def first_line(error: BaseException) -> str:
    """The first line of what it says, or of what class it is: what servers add below that quotes whole rows."""
    text = text_of(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def trace_of(error: BaseException, most: int = _MOST_TRACE) -> str:
    """The end of its traceback."""
    return storable("".join(traceback.format_exception(error))[-most:])
