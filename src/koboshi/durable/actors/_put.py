"""Recording a message for an actor, from outside of any turn."""

from __future__ import annotations

import secrets
import time
from typing import Any, NamedTuple

from ..stores import Row, Session
from ..stores._tables import OUTBOX
from ._codec import arguments_of
from ._definition import Definition
from ._filed import Question, filed_under, opened, question_of
from ._identity import Identity
from ._kind import Kind
from ._letter import Letter, put_source
from ._publication import ROW

__all__ = ["There", "kept", "put", "question"]

_OUTBOX = ("system_name", "source", "seq")


class There(NamedTuple):
    """What was found under a request's id: a filed reply, or a recorded message; neither where it went meanwhile."""

    filed: bytes | None = None
    message: str | None = None
    payload: bytes = b""
    #: Of the actor whose reply it is, if it has one.
    data_key: bytes | None = None


async def put(
    kind: Kind, who: Identity, request: str | None, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Record a message, once under the request's id if it has one.

    Raises:
        RequestMismatch: the id is that of another message, or of other arguments.
        StoreUnavailable, OutcomeUnknown, UsageError, Corrupted: as `DurableRef.put`.
    """
    # The time in front: what was put first is read first.
    id = request or f"{time.time_ns():016x}-{secrets.token_hex(8)}"
    source, sealer = put_source(who, id), kind.definition.sealer
    plain = arguments_of(fn).encode(args, kwargs)
    payload, key_id = sealer.seal(who, "message", f"{source}#0", plain)
    row = (who.system, source, 0, who.type, who.key, fn.__name__, payload, "msgpack", key_id, "ready")

    def write(session: Session) -> There | None:
        return _written(session, row, who, id)

    while (there := await kind.store.change(write)) is not None:
        if request is None or _check(kind.definition, who, id, fn, plain, there):
            return
    kind.deliveries.posted([Letter(source, 0, who.key, fn.__name__, payload, 0)])


def _written(session: Session, row: Row, who: Identity, id: str) -> There | None:
    """Add the row; None if it is new."""
    filed = filed_under(session, who, id)
    if filed is not None:
        return There(filed[0], data_key=filed[1])
    if session.insert(OUTBOX, ROW, [(*row, session.now, 0)], ignore=True):
        return None
    found = session.lookup(OUTBOX, ("message", "payload"), _OUTBOX, [row[:3]])
    return There(None, str(found[0][0]), bytes(found[0][1])) if found else There()


def _check(definition: Definition, who: Identity, id: str, fn: Any, plain: bytes, there: There) -> bool:
    """Whether the very message was recorded before; False: what was there is not any more."""
    found = kept(definition, who, id, there)
    if found is None:
        return False
    found.check(who, id, question(definition, fn.__name__, plain))
    return True


def kept(definition: Definition, who: Identity, id: str, there: There) -> Question | None:
    """What was recorded under the id before; None: what was there is not any more.

    Raises:
        Corrupted, WrongKey: it cannot be used.
    """
    if there.filed is not None:
        return opened(definition.opener(who, there.data_key), who, id, there.filed).question
    if there.message is None:
        return None
    recorded = definition.sealer.open(who, "message", f"{put_source(who, id)}#0", there.payload)
    return question(definition, there.message, recorded)


def question(definition: Definition, name: str, plain: bytes) -> Question:
    """What a recorded message asks; by the function that is going to handle it."""
    run = getattr(definition.cls, name, None)
    if run is None:
        return Question(name, b"")  # of another version of the program
    args, kwargs = arguments_of(run).decode(plain)
    return question_of(run, tuple(args), kwargs, typed=True)
