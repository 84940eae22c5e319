"""Actors that answer a request which they refuse, and go on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import get_ident
from typing import Any, ClassVar, TypeVar

from .._kernel._actor import Actor
from .._kernel._cell import DEAD, REMOTE, Cell
from .._kernel._errors import KoboshiError, UsageError, WrongThread
from .._kernel._process import current_cell
from .._kernel._ref import ActorRef
from .._kernel._reply import defer

AA = TypeVar("AA", bound=Actor)


class Answering(Actor):
    """A base whose plain messages may raise a `KoboshiError`: the caller gets it, the actor goes on."""

    #: Names of messages that run the user's own functions: whatever those raise is the caller's error too.
    _runs_users_code: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        callers: type[Exception] = Exception if run.__name__ in cls._runs_users_code else KoboshiError

        @functools.wraps(run)
        def answering(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return run(self, *args, **kwargs)
            except callers as refused:
                return defer().fail(refused)

        return answering


def current_ref(what: str) -> ActorRef[Any]:
    """The current process, as it is named to others.

    Raises:
        NotInProcess: there is none.
    """
    return ActorRef(current_cell(what))


def expect(ref: ActorRef[Any], cls: type[Actor]) -> Cell:
    """Who is at a handle's ref now. A name may be anybody's, so its class is looked at only here.

    Raises:
        UsageError: it is an actor that surely is no `cls`.
    """
    cell = ref._target()
    found: Any = cell.info.cls
    # One that has ended, or whose class this node cannot import, may be known as no more than an actor.
    if found is not cls and found is not Actor and not found._kb_answers_for(cls):
        raise UsageError(
            f"{ref!r} leads to an actor of {found.__name__}, and one of {cls.__name__} was expected"
        )
    return cell


def on_this_loop(ref: ActorRef[Any], cls: type[AA], what: str) -> AA | None:
    """The actor itself if it is on this loop, None if it is on another node.

    Raises:
        NotRunning: nobody is there.
        UsageError: it is an actor of another class.
        WrongThread: this is not its loop's thread.
    """
    cell = ref._target()
    actor: AA | None = cell.actor
    # Nearly always all is well, and that is found out first; who has ended or is elsewhere has no actor here.
    if actor is not None and cell.info.cls is cls and get_ident() == cell.node.thread:
        return actor
    expect(ref, cls)
    if cell.state == DEAD:
        raise ref._not_running(what)
    if get_ident() != cell.node.thread:
        raise WrongThread(f"{ref!r} was used on another thread than its event loop's")
    if cell.state == REMOTE:
        return None
    if actor is None:
        raise ref._not_running(what)
    return actor
