"""Calls to an actor that another node of this program keeps: they are handed to the kind there.

Each node that runs a kind claims its own actors, as another program would. A kind has a name on all nodes, made of
what it runs and of its host in the store; a claim that is refused says which host holds the actor, so whom to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._cell import REMOTE
from ..._kernel._errors import KoboshiError, MailboxFull
from ..._kernel._message import message
from ..._kernel._node import this_node
from ..._kernel._ref import ActorRef
from ..._kernel._reply import ReplyTo, defer
from ._definition import known_as
from ._letter import Letter

if TYPE_CHECKING:
    from ._dead_letter import DeadLetterWork
    from ._definition import Definition
    from ._kind import Kind

__all__ = ["Routing", "elsewhere", "look_at", "was_relayed"]

_NAME = "koboshi.durable"
# Of how many actors it is remembered which node keeps them.
_MOST_KEPT = 10_000
_RELAYED = "_koboshi_relayed"


def _name(definition: Definition, host: str) -> tuple[str, ...]:
    return (_NAME, str(definition.store), definition.system, definition.type, host)


def elsewhere(definition: Definition, host: str | None) -> ActorRef[Kind] | None:
    """The kind on another node of this program, if there is one: that of a host, or any."""
    names = this_node().names
    if host is not None:
        cell = names.get(_name(definition, host))
        return ActorRef(cell) if cell is not None and cell.state == REMOTE else None
    # The one that was found before, as long as it is there: a node may have very many names.
    cell = names.get(definition.found_as)
    if cell is not None and cell.state == REMOTE:
        return ActorRef(cell)
    prefix = _name(definition, "")[:-1]
    for name, cell in names.items():
        if isinstance(name, tuple) and name[:-1] == prefix and cell.state == REMOTE:
            definition.found_as = name
            return ActorRef(cell)
    return None


def look_at(other: ActorRef[Kind] | None) -> None:
    """Have a kind on another node look for messages now. One that does not hear of it looks within a second."""
    if other is not None:
        with suppress(MailboxFull):
            other.cast(Routing.look_out)


def was_relayed(error: BaseException) -> bool:
    """Whether it is what the actor's call there came to, and not the end of the kind or node that was asked."""
    return getattr(error, _RELAYED, False)


class Routing(Actor):
    """What a kind does for other nodes."""

    definition: Definition

    def announce(self, host: str) -> None:
        """Be found by other nodes."""
        self._keepers: dict[str, ActorRef[Kind]] = {}
        self._routed: set[asyncio.Task[None]] = set()
        _bonds.register(self._kb_cell, _name(self.definition, host))

    def remember(self, key: str, other: ActorRef[Kind]) -> None:
        """That node keeps an actor: it is asked at once the next time."""
        self._keepers.pop(key, None)
        while len(self._keepers) >= _MOST_KEPT:
            del self._keepers[next(iter(self._keepers))]
        self._keepers[key] = other

    def keeper(self, key: str) -> ActorRef[Kind] | None:
        """The node that was last known to keep an actor. If it does not any more, it finds out who does."""
        return self._keepers.get(key)

    def forget_keeper(self, key: str) -> None:
        """That node could not be asked."""
        self._keepers.pop(key, None)

    def share(self, outbox: list[tuple[Any, ...]]) -> None:
        """Tell the kinds of this node what has just been committed for them; of others, one on another node."""
        by_kind: dict[tuple[str, str], list[Letter]] = {}
        for system, source, seq, type, key, name, payload, *_ in outbox:
            by_kind.setdefault((system, type), []).append(Letter(source, seq, key, name, payload, 0))
        for target, letters in by_kind.items():
            kind = self._kinds().get(target)
            if kind is not None:
                kind.deliveries.posted(letters)
            elif (definition := known_as(str(self.definition.store), *target)) is not None:
                look_at(elsewhere(definition, None))

    def _kinds(self) -> dict[tuple[str, str], Kind]:
        raise NotImplementedError

    @message
    def look_out(self) -> None:
        """Another node has found or recorded a message of the outbox that is for here."""
        if not cast("Kind", self).ends:
            cast("Kind", self).deliveries.look_soon()

    @message
    def look_up_keys(self, tags: dict[str, str], after: str, limit: int) -> Any:
        """Look keys up for a node without this kind; the reply comes when the store has been read."""
        from ._finding import look_up  # it needs this module

        return self._later(look_up(self.definition, "look_up_keys", tags, after, limit))

    @message
    def work_on_dead_letters(self, work: DeadLetterWork[Any]) -> Any:
        """List, requeue or discard dead letters for a node without this kind."""
        from ._dead_letter import work_on  # it needs this module

        return self._later(work_on(self.definition, "work_on_dead_letters", work))

    def _later(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have the reply to the message in hand be what that comes to, and take the next message."""
        task = asyncio.get_running_loop().create_task(_answer(defer(), work))
        self._routed.add(task)
        task.add_done_callback(self._routed.discard)

    def end_routed(self) -> None:
        """Answer nobody any more; who waits is told with the end of this kind."""
        for task in self._routed:
            task.cancel()

    @message
    def routed(
        self,
        verb: str,
        key: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        within: float | None,
        request: str | None,
    ) -> Any:
        """Do for another node what `DurableRef.<verb>` does here; the reply comes when it is done."""
        return self._later(self._route(verb, key, name, args, kwargs, within, request))

    async def _route(
        self,
        verb: str,
        key: str,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        within: float | None,
        request: str | None,
    ) -> Any:
        from ._ref import DurableRef  # it needs kinds, and so this module

        # What is remembered is not asked: two nodes that remember each other would hand a call to and fro.
        ref: DurableRef[Any] = DurableRef(self.definition, key, within, request, is_routed=True)
        if verb in ("call", "cast", "put"):
            fn: Any = self.definition.message_named(name)
            value = getattr(ref, verb)(fn, *args, **kwargs)
        else:
            value = getattr(ref, verb)()
        return await value if asyncio.iscoroutine(value) else value


async def _answer(reply: ReplyTo[Any], work: Coroutine[Any, Any, Any]) -> None:
    try:
        reply.send(await work)
    except Exception as error:
        if isinstance(error, KoboshiError):
            setattr(error, _RELAYED, True)
        reply.fail(error)
