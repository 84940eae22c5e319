"""What stored bytes are bound to besides their actor: all that says how they are to be read."""

from __future__ import annotations

__all__ = ["event_number", "report_number", "state_number"]


def state_number(revision: int, codec: str, version: int) -> str:
    """Of a state: the revision that it is of, its codec and its schema's version."""
    return f"{revision} ({codec}, version {version})"


def event_number(revision: int, type: str, version: int, codec: str) -> str:
    """Of an event, or a state that is kept."""
    return f"{revision} {type} {version} {codec}"


def report_number(source: str, seq: int) -> str:
    """Of the report of a message that has failed."""
    return f"{source}#{seq}"
