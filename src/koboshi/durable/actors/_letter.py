"""A message of the outbox as it is read, and which of them are due."""

from __future__ import annotations

from typing import NamedTuple

from ..stores import Select
from ._timers import TIMERS

__all__ = ["DUE", "PUT", "Letter"]

#: The source of messages that were put from outside of any actor: the request's id follows.
PUT = "put/"
# Not those that wait behind one of the same source and target whose time has not come.
DUE = Select(
    "SELECT source, seq, target_key, message, payload, attempts FROM kb_outbox o"
    " WHERE system_name = :system AND state = 'ready' AND target_type = :type AND not_before <= :now"
    " AND NOT EXISTS (SELECT 1 FROM kb_outbox b WHERE b.system_name = o.system_name AND b.source = o.source"
    " AND b.seq < o.seq AND b.target_type = o.target_type AND b.target_key = o.target_key"
    " AND b.state = 'ready' AND b.not_before > :now)"
    " AND (source > :after OR (source = :after AND seq > :number))"
    " ORDER BY source, seq LIMIT :most"
)


class Letter(NamedTuple):
    """One message of the outbox."""

    source: str
    seq: int
    key: str
    message: str
    payload: bytes
    attempts: int

    @property
    def number(self) -> str:
        """What tells it apart, and its bytes are bound to."""
        # All occurrences of a reminder have the same bytes.
        return self.source if self.source.startswith(TIMERS) else f"{self.source}#{self.seq}"
