"""`Projection`: a durable actor that is told of the events of others, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

from ..._kernel._message import message
from .._failures import Fenced
from ..actors._actor import DurableActor
from ..stores import Session
from ._handlers import Handlers, Happened, Source, handlers_of
from ._log import Offset

__all__ = ["Batch", "Projection"]

S = TypeVar("S")


class Batch(NamedTuple):
    """Events that are applied in one transaction, with the offset that they move."""

    happened: Sequence[Happened]
    since: int
    until: int
    offset: Offset
    names: Mapping[str, str]


class Projection(DurableActor[S]):
    """What somebody wants to know about the events of others: tables, a state that messages ask for, or both.

    Methods marked `@kb.on` are told of events; `kb.projection` says whose. `S` is None for one that has tables only.
    """

    #: The tables that it fills: the name of each and its columns, as between the brackets of CREATE TABLE.
    tables: ClassVar[Mapping[str, str]] = {}
    _kb_handlers: ClassVar[Handlers]

    #: Whose event a method marked `@kb.on` is handling.
    source: Source

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kb_handlers = handlers_of(cls)

    def initial(self) -> S:
        """The state before the first event; by default the state's type, called without arguments."""
        kind: Any = type(self)._kb_codec.type
        return cast("S", None if kind in (None, type(None)) else kind())

    @message
    def _kb_apply(self, batch: Batch) -> None:
        """Apply events, in one turn, with the offset."""
        handlers = self._kb_handlers
        for source, event in batch.happened:
            handler = handlers.with_state.get(cast("Any", type(event)))
            if handler is not None:
                self.source = source
                handler(self, event)
        who = str(self._kb_turn("apply").who)

        def apply(session: Session) -> None:
            if not batch.offset.move(session, batch.since, batch.until):
                raise Fenced(who)
            handlers.change_tables(session, batch.happened, batch.names)

        self._kb_turn("apply").effect().added.append(apply)
