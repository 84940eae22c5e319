"""Forwarding: a turn hands the reply that it owes to another durable actor.

The message to that actor is a row of the outbox, recorded with the turn, and carries a request's id that follows from
the one that the turn was asked with. The reply is filed under it, as under any; whoever asked is answered from there.
Who asks again with the same id finds where it was handed to, and waits for the same reply.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from ..._kernel._errors import NotRunning
from .._failures import HostLost, Refused
from ..stores import Row, Session
from ..stores._tables import OUTBOX
from ._codec import reply_codec
from ._filed import Address, file_forward, filed_under, opened
from ._identity import Identity
from ._letter import put_source
from ._numbers import report_number
from ._seal import open_text

if TYPE_CHECKING:
    from ..._kernel._wait import Request
    from ._activation import Activation
    from ._definition import Definition
    from ._kind import Kind
    from ._seal import Sealer

__all__ = ["Forwarded", "Relay", "Relays"]

_MOST_ID = 128
# Seconds between looks for a reply that another program files, at first and at most.
_FIRST, _MOST = 0.05, 1.0
_SOURCE = ("system_name", "source", "seq")


class Forwarded:
    """What a handler returns that has forwarded its reply."""

    __slots__ = ("_name", "_payload", "_sealer", "_to", "address")

    def __init__(self, to: Identity, sealer: Sealer, name: str, payload: bytes) -> None:
        self._to = to
        self._sealer = sealer
        self._name = name
        self._payload = payload
        self.address: Address

    def bind(self, activation: Activation, request_id: str | None) -> Row:
        """Give it the id that follows from the turn's; the message as a row of the outbox."""
        id = uuid.uuid4().hex if request_id is None else _following(request_id)
        self.address = Address(*self._to, self._name, id)
        source = put_source(self._to, id)
        sealed, key_id = self._sealer.seal(self._to, "message", f"{source}#0", self._payload)
        to = self._to
        return (to.system, source, 0, to.type, to.key, self._name, sealed, "msgpack", key_id, "ready")

    def filed(self, activation: Activation, request_id: str) -> bytes:
        """What is filed under the turn's request id in the place of a reply."""
        question = activation.question
        return file_forward(activation.sealer, activation.who, request_id, question, self.address)


def _following(request_id: str) -> str:
    """Another id for each hop, so that an actor may be on the way twice."""
    following = request_id + ">"
    if len(following) > _MOST_ID:
        following = hashlib.blake2b(following.encode(), digest_size=24).hexdigest()
    return following


class Relay:
    """Stands for a caller until the turn is committed, and then has it answered from where that was forwarded to."""

    __slots__ = ("_address", "_relays", "_request")

    def __init__(self, relays: Relays, address: Address, request: Request) -> None:
        self._relays = relays
        self._address = address
        self._request = request

    def answer(self, value: Any) -> bool:
        """The turn is committed."""
        self._relays.start(self._address, self._request)
        return True

    def fail(self, error: BaseException) -> bool:
        """It is not."""
        return self._request.fail(error)


class Relays:
    """Of one kind: the callers that wait for a reply from where their message was forwarded to."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._tasks: set[asyncio.Task[None]] = set()
        # Of all kinds of this node that use the same store: who waits for what is filed.
        stores = kind._kb_cell.node.services.setdefault("koboshi.replies", {})
        self._awaited: dict[tuple[Identity, str], list[asyncio.Future[None]]] = stores.setdefault(
            kind.definition.store, {}
        )

    def start(self, address: Address, request: Request) -> None:
        """Answer a caller when the reply is there."""
        task = asyncio.get_running_loop().create_task(self._answer(address, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Nobody is answered any more."""
        for task in self._tasks:
            task.cancel()

    def filed(self, who: Identity, request_id: str) -> None:
        """A reply was committed, or a message is a dead letter."""
        for future in self._awaited.get((who, request_id), ()):
            if not future.done():
                future.set_result(None)

    async def _answer(self, address: Address, request: Request) -> None:
        try:
            await self._wait(address, request)
        except asyncio.CancelledError:
            request.fail(HostLost(str(address.who), address.message))
            raise
        except Exception as error:
            request.fail(error)

    async def _wait(self, address: Address, request: Request) -> None:
        delay = _FIRST
        while not request.done:
            place = (address.who, address.request)
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._awaited.setdefault(place, [])
            waiting.append(future)
            try:
                filed, dead, data_key = await self._kind.store.read(functools.partial(_look, address=address))
                if filed is None and dead is None:
                    await asyncio.wait([future], timeout=delay)
                    delay = min(delay * 2, _MOST)
            finally:
                waiting.remove(future)
                if not waiting and self._awaited.get(place) is waiting:
                    del self._awaited[place]
            if filed is not None:
                further = self._answered(address, request, filed, data_key)
                if further is None:
                    return
                address, delay = further, _FIRST
            elif dead is not None:
                why = self._why(address, dead)
                raise Refused(f"{address.type}/{address.key} could not handle {address.message}: {why}")

    def _why(self, address: Address, stored: str) -> str:
        """The last line of the report of a dead letter."""
        number = report_number(put_source(address.who, address.request), 0)
        report = open_text(self._target(address).sealer, address.who, "report", number, stored)
        return (report.strip().splitlines() or ["?"])[-1]

    def _target(self, address: Address) -> Definition:
        kind = self._kind._kinds().get((address.system, address.type))
        if kind is None:
            raise NotRunning(f"durable {address.type}", f"the question for its reply to {address.message}")
        return kind.definition

    def _answered(
        self, address: Address, request: Request, filed: bytes, data_key: bytes | None
    ) -> Address | None:
        definition = self._target(address)
        found = opened(definition.opener(address.who, data_key), address.who, address.request, filed)
        if found.address is None:
            fn = definition.message(address.message)
            request.answer(None if fn is None else reply_codec(fn).decode(found.reply))
        return found.address


def _look(session: Session, address: Address) -> tuple[bytes | None, str | None, bytes | None]:
    """The reply if it is filed, the stored report if the message is a dead letter, the data key of the reply."""
    who = address.who
    found = filed_under(session, who, address.request)
    if found is not None:
        return found[0], None, found[1]
    source = put_source(who, address.request)
    row = session.lookup(OUTBOX, ("state", "report"), _SOURCE, [(address.system, source, 0)])
    if row and row[0][0] == "dead":
        return None, str(row[0][1] or ""), None
    return None, None, None
