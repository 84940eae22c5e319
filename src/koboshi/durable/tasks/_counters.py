"""What a queue keeps beside its tasks, as numbers in `kb_counter`: shared by all programs."""

from __future__ import annotations

from collections.abc import Sequence

from ..stores import Select, Session
from ..stores._tables import COUNTER

__all__ = ["add", "paused_name", "place_name", "rate_name", "read", "schedule_name", "write"]

_SYSTEM = "tasks"
_KEY = ("system_name", "counter_name")

_ADD = Select(
    "UPDATE kb_counter SET amount = amount + :more WHERE system_name = :system AND counter_name = :name"
)


def paused_name(queue: str) -> str:
    """1 while the queue is paused."""
    return f"{queue}/paused"


def rate_name(queue: str) -> str:
    """When the next start would be on time, in microseconds since the epoch."""
    return f"{queue}/rate"


def place_name(queue: str) -> str:
    """The place of the last result in the order of commits."""
    return f"{queue}/place"


def schedule_name(queue: str, schedule: str) -> str:
    """The last occurrence that was dealt with, in seconds since the epoch."""
    return f"{queue}/cron/{schedule}"


def read(session: Session, names: Sequence[str]) -> dict[str, int]:
    """Those counters that there are."""
    rows = [(_SYSTEM, name) for name in names]
    return dict(session.lookup(COUNTER, ("counter_name", "amount"), _KEY, rows))


def write(session: Session, name: str, amount: int) -> None:
    """Set a counter."""
    session.upsert(COUNTER, (*_KEY, "amount"), [(_SYSTEM, name, amount)])


def add(session: Session, name: str, more: int) -> int:
    """Raise a counter; its new amount. Until the commit no other transaction gets past this line."""
    if not session.run(_ADD, more, _SYSTEM, name):
        session.insert(COUNTER, (*_KEY, "amount"), [(_SYSTEM, name, 0)], ignore=True)
        session.run(_ADD, more, _SYSTEM, name)
    return read(session, [name])[name]
