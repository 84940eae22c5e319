"""What is filed under a request's id: what was asked, and its reply, or where that was forwarded to.

What was asked is the message's name and a digest of its arguments. An id that comes with another question is refused,
since the kept reply would be no answer to it. All of it is inside of what is sealed: where there are few possible
arguments, a digest would give them away.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from .._failures import Corrupted, RequestMismatch
from ..stores import Select, Session
from ._codec import arguments_of
from ._identity import Identity
from ._seal import FORWARD, Sealer

__all__ = [
    "Address",
    "Filed",
    "Question",
    "file_forward",
    "file_reply",
    "filed_under",
    "opened",
    "question_of",
]

# One statement for both: the actor may be erased between two, and the reply would be there without its key.
_FILED = Select(
    "SELECT r.reply, d.wrapped FROM kb_request r LEFT JOIN kb_data_key d"
    " ON d.system_name = r.system_name AND d.actor_type = r.actor_type AND d.actor_key = r.actor_key"
    " WHERE r.system_name = :system AND r.actor_type = :type AND r.actor_key = :key AND r.request_id = :id"
)


class Question(NamedTuple):
    """What a request asks. The digest is empty where arguments cannot be encoded: those are not compared."""

    message: str
    digest: bytes

    def check(self, who: Identity, request_id: str, came: Question) -> None:
        """Raise `RequestMismatch` unless it is what came now."""
        if self != came:
            raise RequestMismatch(str(who), request_id, self.message, came.message)


class Address(NamedTuple):
    """Who gives a reply: an actor, the message, and the request's id that it is filed under."""

    system: str
    type: str
    key: str
    message: str
    request: str

    @property
    def who(self) -> Identity:
        """The actor."""
        return Identity(*self[:3])


class Filed(NamedTuple):
    """What was filed: the encoded reply, or who gives it."""

    question: Question
    reply: bytes
    address: Address | None


def question_of(run: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, typed: bool) -> Question:
    """What is asked with a message.

    Args:
        typed: the arguments are of their declared types already.
    """
    return Question(run.__name__, arguments_of(run).digest(args, kwargs, typed=typed))


def file_reply(sealer: Sealer, who: Identity, request_id: str, question: Question, reply: bytes) -> bytes:
    """What to store in the place of a reply."""
    return sealer.seal(who, "reply", request_id, msgspec.msgpack.encode((*question, reply)))[0]


def file_forward(
    sealer: Sealer, who: Identity, request_id: str, question: Question, address: Address
) -> bytes:
    """The same where somebody else gives the reply."""
    return FORWARD + sealer.seal(who, "forward", request_id, msgspec.msgpack.encode((*question, address)))[0]


def filed_under(session: Session, who: Identity, request_id: str) -> tuple[bytes, bytes | None] | None:
    """What is filed there as it is stored, if anything is, with the actor's data key, if it has one."""
    found = session.fetch(_FILED, *who, request_id)
    if not found:
        return None
    reply, wrapped = found[0]
    return bytes(reply), None if wrapped is None else bytes(wrapped)


_reply = msgspec.msgpack.Decoder(tuple[str, bytes, bytes]).decode
_forward = msgspec.msgpack.Decoder(tuple[str, bytes, tuple[str, str, str, str, str]]).decode


def opened(sealer: Sealer, who: Identity, request_id: str, stored: bytes) -> Filed:
    """What was filed.

    Raises:
        Corrupted, WrongKey: it cannot be used.
    """
    is_forward = stored[:1] == FORWARD
    what, sealed = ("forward", stored[1:]) if is_forward else ("reply", stored)
    plain = sealer.open(who, what, request_id, sealed)
    try:
        if is_forward:
            message, digest, address = _forward(plain)
            return Filed(Question(message, digest), b"", Address(*address))
        message, digest, reply = _reply(plain)
    except msgspec.MsgspecError as error:
        raise Corrupted(
            str(who), f"what is filed under its request {request_id!r} has another form: {error}"
        ) from None
    return Filed(Question(message, digest), reply, None)
