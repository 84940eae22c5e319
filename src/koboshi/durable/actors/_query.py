"""`query`: messages that only read, and how they are answered without a write."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from ..._kernel._errors import UsageError
from ..._kernel._message import Message, message
from ..._kernel._reasons import Shutdown
from ..._kernel._reply import ReplyTo, defer
from .._failures import Fenced
from ..stores import Query, Session
from ..stores._tables import ACTOR

if TYPE_CHECKING:
    from ..._kernel._actor import Actor
    from ._activation import Activation
    from ._actor import DurableActor

    AA = TypeVar("AA", bound=Actor)

__all__ = ["QUERY", "check_turn", "query", "reading"]

P = ParamSpec("P")
R = TypeVar("R")

#: Marks a query; its value says whether the store is asked each time.
QUERY = "__koboshi_query__"

if TYPE_CHECKING:

    class _Marks(Protocol):
        @overload
        def __call__(
            self, fn: Callable[Concatenate[AA, P], Coroutine[Any, Any, R]], /
        ) -> Message[AA, P, R, Coroutine[Any, Any, R]]: ...
        @overload
        def __call__(self, fn: Callable[Concatenate[AA, P], R], /) -> Message[AA, P, R, R]: ...

    @overload
    def query(
        fn: Callable[Concatenate[AA, P], Coroutine[Any, Any, R]], /
    ) -> Message[AA, P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def query(fn: Callable[Concatenate[AA, P], R], /) -> Message[AA, P, R, R]: ...
    @overload
    def query(*, linearizable: bool = False) -> _Marks: ...
    def query(fn: Any = None, /, *, linearizable: bool = False) -> Any: ...

else:

    def query(fn=None, /, *, linearizable=False):
        """Mark a method as a message that only reads: it is answered without a write.

        A query that changes the state is a mistake, and ends the activation with `UsageError`.

        Args:
            linearizable: ask the store each time whether the actor is still this program's and its state the newest
                one. Without it (default) the lease says so, which is wrong only where clocks run at very different
                speeds.
        """
        if fn is None:
            return functools.partial(query, linearizable=linearizable)
        setattr(message(fn), QUERY, linearizable)
        return fn


def check_turn(fn: Any) -> None:
    """Raise `UsageError` for a query: what is recorded, to be handled once, is a turn."""
    if getattr(fn, QUERY, None) is not None:
        raise UsageError(
            f"{fn.__qualname__} is a query, and nobody would get its answer; record a @kb.message, or call it"
        )


def reading(run: Callable[..., Any]) -> Callable[..., Any]:
    """What runs in the place of a query."""
    always: bool = getattr(run, QUERY)

    def answer(self: DurableActor[Any], activation: Activation, value: Any) -> Any:
        _check_unchanged(self, activation, run)
        if always or not activation.store.holds_lease:
            return _answer_checked(activation, value)
        return activation.hold(value)

    if inspect.iscoroutinefunction(run):

        @functools.wraps(run)
        async def waiting(self: DurableActor[Any], *args: Any, **kwargs: Any) -> Any:
            value = await run(self, *args, **kwargs)
            activation = self._kb_activation
            return value if activation is None else answer(self, activation, value)

        return waiting

    @functools.wraps(run)
    def at_once(self: DurableActor[Any], *args: Any, **kwargs: Any) -> Any:
        value = run(self, *args, **kwargs)
        activation = self._kb_activation
        return value if activation is None else answer(self, activation, value)

    return at_once


def _check_unchanged(actor: DurableActor[Any], activation: Activation, run: Callable[..., Any]) -> None:
    if actor._kb_encoded() != activation.blob or activation.effects is not None:
        activation.dropped()
        raise UsageError(
            f"{run.__qualname__} is marked @kb.query and has changed {activation.who}; mark it @kb.message"
        )


def _answer_checked(activation: Activation, value: Any) -> None:
    """Answer only after the store has said that the actor is still ours, and what was read the newest state.

    The store does one group after the other, and writes before queries: what the handler has seen is committed by
    then, or its write has failed.
    """
    reply: ReplyTo[Any] = defer()
    who, token = activation.who, activation.token
    seen = activation.revision if activation.kind.definition.durability == "commit" else 0

    def read(session: Session) -> bool:
        found = session.lookup(
            ACTOR, ("token", "revision"), ("system_name", "actor_type", "actor_key"), [who]
        )
        return bool(found) and bytes(found[0][0] or b"") == token and int(found[0][1]) >= seen

    def done(ours: bool, error: Exception | None) -> None:
        if error is None and ours:
            reply.send(value)
            return
        reply.fail(error or Fenced(str(who)))
        if error is None:
            activation.kind.lost(activation, Fenced(str(who)))
            activation.cell.condemn(Shutdown("taken over"))

    activation.store.submit(Query(read), done)
