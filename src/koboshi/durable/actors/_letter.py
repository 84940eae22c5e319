"""A message of the outbox as it is read, and which of them are due."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..stores import Select
from ._identity import Identity
from ._numbers import report_number
from ._seal import seal_text
from ._timers import TIMERS

if TYPE_CHECKING:
    from ._definition import Definition

__all__ = ["DUE", "PUT", "Letter", "letter_number", "put_source", "requeues", "sealed_report"]

#: Sources of messages that carry the id of a request begin so; the target's type and key and the id follow.
PUT = "put/"

# Not those that wait behind one of the same source and target whose time has not come. What is further ahead than any
# waits was written while the clock was ahead: it was set back since, and what it showed is no reason to wait.
# With each, the number of requeues, which is the same for all: in one statement it is that of the moment of the rows.
DUE = Select(
    "SELECT source, seq, target_key, message, payload, attempts,"
    " (SELECT amount FROM kb_counter WHERE system_name = :system AND counter_name = :requeues) FROM kb_outbox o"
    " WHERE system_name = :system AND state = 'ready' AND target_type = :type"
    " AND (not_before <= :now OR not_before > :most_ahead)"
    " AND NOT EXISTS (SELECT 1 FROM kb_outbox b WHERE b.system_name = o.system_name AND b.source = o.source"
    " AND b.seq < o.seq AND b.target_type = o.target_type AND b.target_key = o.target_key"
    " AND b.state = 'ready' AND b.not_before > :now AND b.not_before <= :most_ahead)"
    " AND (source > :after OR (source = :after AND seq > :number))"
    " ORDER BY source, seq LIMIT :most"
)


def requeues(type: str) -> str:
    """The name of the counter of how often dead letters to actors of a type were made ready again."""
    return f"requeued/{type}"


def put_source(who: Identity, request: str) -> str:
    """The source of the message to an actor that carries a request's id; there is one for each actor and id."""
    return f"{PUT}{who.type}/{who.key}/{request}"


def letter_number(source: str, seq: int) -> str:
    """What a message's bytes are bound to."""
    # All occurrences of a reminder have the same bytes.
    return source if source.startswith(TIMERS) else f"{source}#{seq}"


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
        return letter_number(self.source, self.seq)

    def row(self, definition: Definition) -> tuple[str, str, int]:
        """The primary key of its row."""
        return definition.system, self.source, self.seq

    @property
    def is_put(self) -> bool:
        """Whether it carries the id of a request."""
        return self.source.startswith(PUT)

    def request(self, type: str) -> str | None:
        """The request's id that it carries, if it does, to an actor of this type."""
        return self.source[len(f"{PUT}{type}/{self.key}/") :] if self.is_put else None


def sealed_report(definition: Definition, letter: Letter, report: str) -> str:
    """A message's report as it is stored: it may hold what the message was about."""
    who = Identity(definition.system, definition.type, letter.key)
    return seal_text(definition.sealer, who, "report", report_number(letter.source, letter.seq), report)
