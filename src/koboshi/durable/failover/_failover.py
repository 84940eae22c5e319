"""`DurableFailover`: the failover of `koboshi.otp` with a stored cursor.

The cursor moves in the very transaction that records the items as messages, so a program that is killed between two
items goes on behind the last one that was recorded, and each is handled once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from random import random
from typing import Any, TypeVar, cast

import msgspec

from ..._kernel._errors import CallError, UsageError
from ..._kernel._message import Message
from ..._supervision._dynamic import DynamicSupervisor
from ..._supervision._restart import Backoff, backoff_of
from ..._supervision._root import request
from ..._supervision._spec import child
from ...otp.failover._delivery import Delivery
from ...otp.failover._failover import Failover, _check, _not_beyond
from ...otp.failover._sources import Poll, Push
from .._failures import Fenced, OutcomeUnknown, OwnedElsewhere, StoreClosed, StoreUnavailable
from ..actors._actor import DurableActor
from ..actors._handle import durable
from ..actors._identity import checked_name
from ..actors._ref import DurableRef
from ..stores import StoreURL
from ._inlet import Inlet

__all__ = ["DurableFailover"]

A = TypeVar("A", bound=DurableActor[Any])
T = TypeVar("T")

_TYPE = "koboshi failover"

_log = logging.getLogger("koboshi.durable")

_RETRY = Backoff(1.0, 60.0, jitter=0.1)
# What may pass: the store is down, another program has the cursor and is alive, or an answer got lost.
_PASSING = (CallError, Fenced, OutcomeUnknown, OwnedElsewhere, StoreClosed, StoreUnavailable)


class DurableFailover(Failover):
    """Records what the best working source brings as messages for durable actors, each once.

    Args:
        sources: `otp.Push` and `otp.Poll`, the most preferred first. All of them give cursors, of plain values.
        name: names the cursor in the store. Of several programs with the same name one is at work.
        store: where the cursor is, and the actors that the items go to.
        to: the durable actor that an item goes to, or a function that says which.
        message: the message that it is sent, with the item as its argument.
        system: as for `kb.durable`.
        stale_after: seconds of silence after which a source has failed (default 10.0).
        retry: how long a failed source is left alone (default 1 s to 60 s).

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        *sources: Push | Poll,
        name: str,
        store: StoreURL,
        to: DurableRef[A] | Callable[[Any], DurableRef[A]],
        message: Message[A, ..., Any, Any],
        system: str = "default",
        stale_after: float = 10.0,
        retry: Backoff | tuple[float, ...] = _RETRY,
    ) -> None:
        checked_name("failover's name", name, 255)
        _check(sources, message, stale_after)
        backoff = backoff_of(retry, "retry")
        if backoff is None:
            raise UsageError("retry takes a kb.Backoff or a tuple of its values, got None")
        DynamicSupervisor.__init__(self)
        options = {"name": name, "store": store, "to": to, "message": message, "system": system}
        self._made_with = sources, {**options, "stale_after": stale_after, "retry": retry}
        # It counts; what delivers is the inlet.
        self._delivery = Delivery(cast("Any", None), message, backoff)
        self._prepare(sources, stale_after, None, backoff)
        self._inlets = durable(child(Inlet, to, message, store), store=store, system=system, type=_TYPE)
        self._inlet = self._inlets[name].within(10.0)
        self._ready = False

    # -- the cursor ----------------------------------------------------------------------------------

    @request
    async def check(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Failover.check`; the first time after the cursor is known."""
        if not self._ready:
            await self.start_child(self._inlets.child())
            self._cursor = await self._patiently(lambda: self._inlet.call(Inlet.cursor))
            self._ready = True
        await super().check()

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask again as long as what is in the way may pass."""
        failures = 0
        while True:
            try:
                return await ask()
            except _PASSING as error:
                if isinstance(error.__cause__, UsageError):
                    raise
                failures += 1
                _log.warning("the failover %s waits: %s", self._inlet.key, error)
                await asyncio.sleep(self._pause.delay(failures, random))

    async def _record(self, items: Sequence[Any], cursor: Any) -> None:
        """Have items and cursor recorded, in one transaction; nobody else is at work by then."""
        since = self._cursor
        await self._patiently(lambda: self._inlet.call(Inlet.take, since, list(items), cursor))
        self._delivery.delivered += len(items)
        self._cursor = cursor

    # -- what the sources bring ----------------------------------------------------------------------

    @request
    async def take(self, run: int, item: Any, cursor: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Failover.take`.

        Raises:
            NotActive: another source is at work.
            UsageError: it came without a cursor.
        """
        source = await self._speaks(run)
        if cursor is None:
            raise UsageError(f"a durable failover needs a cursor with each item, got none with {item!r}")
        cursor = _plain(cursor)
        if _not_beyond(cursor, self._cursor):
            self._duplicates += 1
        else:
            await self._record([item], cursor)
        source.heard = self._now()

    @request
    async def take_all(self, run: int, since: Any, items: Sequence[Any], cursor: Any) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Failover.take_all`."""
        source = await self._speaks(run)
        cursor = _plain(cursor)
        # Another source has delivered meanwhile: some of these items were among it, so it polls again.
        if since == self._cursor:
            if cursor != since:
                await self._record(items, cursor)
            elif items:
                raise UsageError(
                    f"{len(items)} items came with the cursor {cursor!r}, which is where they begin"
                )
        source.heard = self._now()
        return self._cursor


def _plain(cursor: Any) -> Any:
    """The cursor as it comes back from the store, so that it can be compared with one that did.

    Raises:
        UsageError: it cannot be stored.
    """
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(cursor))
    except TypeError as error:
        raise UsageError(f"a cursor is a plain value that can be stored, got {cursor!r}: {error}") from None
