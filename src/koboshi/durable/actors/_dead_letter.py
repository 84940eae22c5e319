"""Dead letters: which there are, and what people do to them by hand: requeue, discard.

Each of these is a value that is done in one transaction, here or by a node that has the kind. A letter that is made
ready again keeps its number, so those of one source come in the order in which they were sent. What is newer of that
source has passed them when they died, and what of it is on its way comes first. A look that takes the outbox in
portions may have gone past one of them and not past the next: so a requeue counts itself in the store, and such a
look begins anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from .._failures import Corrupted
from ..stores import Row, Select, Session
from ..stores._tables import OUTBOX
from ._identity import Identity
from ._letter import requeues
from ._numbers import report_number
from ._routing import Routing, elsewhere
from ._seal import open_text
from ._write import take_places

if TYPE_CHECKING:
    from ._definition import Definition

__all__ = ["DeadLetter", "DeadLetterWork", "Discard", "ListPage", "Requeue", "work_on"]

T = TypeVar("T")

_ALL = (
    "SELECT source, seq, target_key, message, attempts, not_before, report FROM kb_outbox"
    " WHERE system_name = :system AND state = 'dead' AND target_type = :type"
    " AND (source > :after OR (source = :after AND seq > :number)) ORDER BY source, seq LIMIT :most"
)
_PAGE = Select(_ALL)
_PAGE_OF_KEY = Select(_ALL.replace(" ORDER BY", " AND target_key = :key ORDER BY"))
_OF_KEY = "WHERE system_name = :system AND state = 'dead' AND target_type = :type AND target_key = :key"
_REQUEUE_KEY = Select(f"UPDATE kb_outbox SET state = 'ready', attempts = 0, not_before = :now {_OF_KEY}")
_DISCARD_KEY = Select(f"DELETE FROM kb_outbox {_OF_KEY}")
# Nobody else's, and only while it is one.
_MATCH = ("system_name", "source", "seq", "state", "target_type")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A recorded message that was given up, as it is stored.

    Attributes:
        target: the type and key of the actor that it is for, such as "Account/alice".
        key: the key alone.
        source: who has sent it: the type and key of an actor; "put/..." if it was put, "timer/..." for a reminder.
        seq: its number among those of its source, in the order in which they were sent.
        message: the name of the message.
        attempts: how often it was tried.
        died_at: when it was given up, in seconds since the epoch by the database's clock.
        report: the last failure, with its traceback where there is one.
    """

    target: str
    key: str
    source: str
    seq: int
    message: str
    attempts: int
    died_at: float
    report: str


class DeadLetterWork(ABC, Generic[T]):
    """Something that is done with the dead letters of a kind; it can be sent to another node."""

    #: Whether it changes any.
    writes: ClassVar[bool] = True

    @abstractmethod
    def perform(self, session: Session, definition: Definition) -> T:
        """Do it in a transaction, which may be run again."""


@dataclass(frozen=True)
class ListPage(DeadLetterWork[list[DeadLetter]]):
    """Up to `most` of them, those of one key or all, after a position."""

    writes = False
    key: str | None
    source: str
    seq: int
    most: int

    def perform(self, session: Session, definition: Definition) -> list[DeadLetter]:
        """See `DeadLetterWork`."""
        place = (definition.system, definition.type, self.source, self.seq)
        if self.key is None:
            rows = session.fetch(_PAGE, *place, self.most)
        else:
            rows = session.fetch(_PAGE_OF_KEY, *place, self.key, self.most)
        return [_shown(definition, row) for row in rows]


@dataclass(frozen=True)
class _Chosen(DeadLetterWork[int]):
    """A change of all of one key, or of those with these sources and numbers; how many there were."""

    key: str | None
    numbers: tuple[tuple[str, int], ...]


class Requeue(_Chosen):
    """Make them ready again, with all their attempts; how many there were."""

    def perform(self, session: Session, definition: Definition) -> int:
        """See `DeadLetterWork`."""
        system, type = definition.system, definition.type
        if self.key is not None:
            found = session.run(_REQUEUE_KEY, session.now, system, type, self.key)
        else:
            rows = [(*row, "ready", 0, session.now) for row in _rows(definition, self.numbers)]
            change = ("state", "attempts", "not_before")
            found = session.update(OUTBOX, _MATCH, change, rows) if rows else 0
        if found:
            take_places(session, system, 1, requeues(type))
        return found


class Discard(_Chosen):
    """Forget them; how many there were."""

    def perform(self, session: Session, definition: Definition) -> int:
        """See `DeadLetterWork`."""
        if self.key is not None:
            return session.run(_DISCARD_KEY, definition.system, definition.type, self.key)
        rows = _rows(definition, self.numbers)
        return session.delete(OUTBOX, _MATCH, rows) if rows else 0


async def work_on(definition: Definition, what: str, work: DeadLetterWork[T]) -> T:
    """Have it done; where the kind does not run, by a node that runs it.

    Raises:
        NotRunning: nobody in this program runs it.
    """
    other = elsewhere(definition, None) if definition.live is None else None
    if other is not None:
        return cast("T", await other.call(Routing.work_on_dead_letters, work))
    kind = definition.running(what)
    if not work.writes:
        return await kind.store.read(lambda session: work.perform(session, definition))
    found = await kind.store.change(lambda session: work.perform(session, definition))
    kind.deliveries.look_soon()
    return found


def _rows(definition: Definition, numbers: tuple[tuple[str, int], ...]) -> list[Row]:
    return [
        (definition.system, source, seq, "dead", definition.type) for source, seq in dict.fromkeys(numbers)
    ]


def _shown(definition: Definition, row: tuple[Any, ...]) -> DeadLetter:
    source, seq, key, message, attempts, died_at, report = row
    who = Identity(definition.system, definition.type, key)
    try:
        text = open_text(definition.sealer, who, "report", report_number(source, int(seq)), report or "")
    except Corrupted as error:  # one row must not spoil the others
        text = f"the report cannot be shown: {error}"
    return DeadLetter(
        f"{definition.type}/{key}", key, source, int(seq), message, int(attempts), float(died_at), text
    )
