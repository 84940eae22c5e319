"""What runs in the place of a message's handler: the handler, as one turn of its activation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .._failures import Refused
from ._filed import question_of

if TYPE_CHECKING:
    from ._activation import Activation
    from ._actor import DurableActor

__all__ = ["CONSUMING", "REQUEST_ID", "turn"]

#: The id of the request that is sent or handled here.
REQUEST_ID: ContextVar[str | None] = ContextVar("koboshi_request_id", default=None)
#: The message of the outbox that is handled here: source and number.
CONSUMING: ContextVar[tuple[str, int] | None] = ContextVar("koboshi_consuming", default=None)


def turn(run: Callable[..., Any]) -> Callable[..., Any]:
    """What runs in a handler's place: the handler, as one turn."""

    if inspect.iscoroutinefunction(run):

        @functools.wraps(run)
        async def waiting(self: DurableActor[Any], *args: Any, **kwargs: Any) -> Any:
            activation = self._kb_activation
            if activation is None:
                return await run(self, *args, **kwargs)
            request_id = _begin(activation, run, args, kwargs)
            if request_id is not None and request_id in activation.answered:
                return activation.repeated(run, request_id)
            if activation.void and _is_void(activation):
                return None
            try:
                value = await run(self, *args, **kwargs)
                return activation.finish(run, value, request_id)
            except Refused as refused:
                return _refused(self, activation, refused)
            except BaseException as error:
                activation.failed(error)
                raise

        return waiting

    @functools.wraps(run)
    def at_once(self: DurableActor[Any], *args: Any, **kwargs: Any) -> Any:
        activation = self._kb_activation
        if activation is None:
            return run(self, *args, **kwargs)
        request_id = _begin(activation, run, args, kwargs)
        if request_id is not None and request_id in activation.answered:
            return activation.repeated(run, request_id)
        if activation.void and _is_void(activation):
            return None
        try:
            return activation.finish(run, run(self, *args, **kwargs), request_id)
        except Refused as refused:
            return _refused(self, activation, refused)
        except BaseException as error:
            activation.failed(error)
            raise

    return at_once


def _begin(
    activation: Activation, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str | None:
    """Take what came with the message out of its context, so that what the handler sends does not inherit it."""
    consuming = CONSUMING.get()
    if consuming is not None:
        CONSUMING.set(None)
        activation.consuming = consuming
    request_id = REQUEST_ID.get()
    if request_id is not None:
        REQUEST_ID.set(None)
        # Now, since the handler may change what it was given.
        activation.question = question_of(run, args, kwargs, typed=consuming is not None)
    activation.asked = request_id
    return request_id


def _is_void(activation: Activation) -> bool:
    """Whether the message in hand is of a reminder that was forgotten before its turn came."""
    consuming = activation.consuming
    if consuming is None or consuming[1] >= activation.void.get(consuming[0], 0):
        return False
    activation.kind.deliveries.void(consuming)
    activation.consuming = None
    return True


def _refused(actor: DurableActor[Any], activation: Activation, refused: Refused) -> Any:
    """Undo the turn and tell the caller; a message of the outbox is done with."""
    consuming = activation.dropped()
    actor._kb_restore(activation.blob)
    if consuming is not None:
        activation.kind.deliveries.refused(activation.who.key, consuming, refused)
    return activation.hold(refused, is_error=True)
