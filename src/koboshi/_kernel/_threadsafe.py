"""Calls and casts from threads other than the event loop's."""

from __future__ import annotations

import asyncio
import concurrent.futures
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from ._errors import MailboxFull, NotRunning, WrongThread
from ._events import Dropped
from ._message import Message, describe

if TYPE_CHECKING:
    from ._actor import Actor
    from ._ref import ActorRef

AC = TypeVar("AC", bound="Actor", covariant=True)
AA = TypeVar("AA", bound="Actor")
P = ParamSpec("P")
RR = TypeVar("RR")


class ThreadsafeRef(Generic[AC]):
    """An `ActorRef` as other threads may use it: `call` blocks the calling thread."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[AC]) -> None:
        self._ref = ref

    def call(
        self: ThreadsafeRef[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RR:
        """Call from this thread and block until the reply is there. Raises as `ActorRef.call`."""
        return self.submit(message, *args, **kwargs).result()

    def submit(
        self: ThreadsafeRef[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[RR]:
        """Call from this thread; the future has the reply. Raises `NotRunning` when the loop is closed."""
        node = self._ref._cell.node
        if get_ident() == node.thread and not node.loop.is_closed():
            raise WrongThread(
                f"{self._ref!r}.threadsafe blocks, so on the event loop's thread it would wait for itself; "
                "use `await ref.call(...)`"
            )
        call = self._ref.call(message, *args, **kwargs)
        try:
            return asyncio.run_coroutine_threadsafe(call, node.loop)
        except RuntimeError:  # the loop is closed
            call.close()
            raise NotRunning(repr(self._ref), describe(message)) from None

    def cast(
        self: ThreadsafeRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Cast from any thread.

        Raises:
            UsageError: no such message, or arguments that do not fit it. A full mailbox is not seen
                here; it is reported as a `Dropped` event.
            NotRunning: the event loop of the actor has ended.
        """
        ref = self._ref
        if ref.alive:
            _, entry = ref._find(message)
            entry.check(args, kwargs)
        node = ref._cell.node

        def deliver() -> None:
            try:
                ref.cast(message, *args, **kwargs)
            except MailboxFull as full:
                node.instruments.emit(Dropped(repr(ref), describe(message), full.limit))

        try:
            # `submit` makes a task, which begins one round later: as late as that, so none overtakes another.
            node.loop.call_soon_threadsafe(node.loop.call_soon, deliver)
        except RuntimeError:  # the loop is closed
            raise NotRunning(repr(ref), describe(message)) from None

    def __repr__(self) -> str:
        return repr(self._ref).replace("<ActorRef", "<ThreadsafeRef", 1)
