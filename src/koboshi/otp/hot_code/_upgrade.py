"""`upgrade`: another class for one running actor, with all who know it told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._cell import REMOTE
from ..._kernel._errors import ActorExited, CallError, NotRunning, UsageError
from ..._kernel._node import Node, this_node
from ..._kernel._reasons import NoConnection
from ..._kernel._ref import ActorRef
from ..._kernel._self import actor_class
from ..._kernel._system import Operation, ask
from .._target import Target, ref_to
from ._change import Prepared, adopt, class_now, commit, is_prepared, prepare, roll_back
from ._errors import UpgradeFailed

Known = list[tuple[ActorRef[Any], type[Actor]]]

# Seconds that are waited for an actor which may have been prepared in vain.
_TAKE_BACK = 1.0
# Cancellations in spite of which an actor is told to go on; one more, and its node may hang.
_CANCELLATIONS = 3

_numbers = itertools.count(1)


async def upgrade(ref: Target, cls: type[Actor]) -> None:
    """Give a running actor another class, between two of its messages; its mail and its refs stay.

    `cls.code_change(old_version, state)` makes the new attributes of the old ones. Messages that wait, or are
    sent by the functions of the old class, reach the methods of the same names. If the actor is a child, its
    supervisor starts the new class from now on.

    Args:
        ref: a ref or a registered name.
        cls: for an actor of another node it goes by its name.

    Raises:
        UpgradeFailed: `code_change` raised, or the two classes do not go together; the actor has gone on with
            its old class and its old state.
        UsageError: `cls` is no actor class, its constructor does not take the arguments of the child's spec,
            or there is a bare process at `ref`. The actor has gone on as it was.
        CallTimeout, ActorExited, NotRunning, CallCycle: as `ref.call`.
    """
    actor_class(cls)  # refuses what is none
    token = new_token()
    prepared: Prepared = await prepared_for(ref_to(ref, Actor), token, prepare, cls)
    told = _Told(prepared)
    try:
        await told.tell(cls)
    except BaseException:
        await finish([prepared.ref], roll_back, token)
        await told.take_back()
        raise
    await finish([prepared.ref], commit, token)


def new_token() -> str:
    """The name of one upgrade, unlike that of any other."""
    return f"{this_node().id}.{next(_numbers)}"


async def prepared_for(ref: ActorRef[Any], token: str, operation: Operation, *args: Any) -> Any:
    """Have an actor prepared; if nobody will know whether it has been, it is as it was."""
    try:
        return await ask(ref, operation, token, *args, shown=upgrade)
    except (UpgradeFailed, UsageError):
        raise
    except BaseException as error:
        cell = ref._target()
        never = isinstance(error, CallError) and not error.maybe_executed
        if not never and (cell.state == REMOTE or is_prepared(cell, token)):
            # One that is prepared is suspended and answers at once. One that does not is busy, and will
            # leave out what has been given up here.
            with contextlib.suppress(CallError):
                await ask(ref.within(_TAKE_BACK), roll_back, token)
        raise


class _Told:
    """Who has been told of an actor's new class: other nodes, and its supervisor."""

    def __init__(self, prepared: Prepared) -> None:
        self._ref = prepared.ref
        self._supervisor = prepared.supervisor
        # Whether the supervisor may start the new class from now on.
        self._adopted = False

    async def tell(self, cls: type[Actor]) -> None:
        """Tell all."""
        await on_all_nodes(know, [(self._ref, cls)])
        await self._adopt(cls)

    async def take_back(self) -> None:
        """Tell those that have been told of the class that the actor has again."""
        try:
            old = await ask(self._ref, class_now)
        except (ActorExited, NotRunning):
            return  # whoever starts it next does so by its spec
        await on_all_nodes(know, [(self._ref, old)])
        if self._adopted:
            await self._adopt(old)

    async def _adopt(self, cls: type[Actor]) -> None:
        if self._supervisor is None:
            return
        self._adopted = True
        try:
            place = await ask(self._supervisor, adopt, self._ref, cls)
        except CallError as failed:
            self._adopted = failed.maybe_executed
            if isinstance(failed, ActorExited | NotRunning):
                return  # the actor ends with its supervisor, or lives on as nobody's child
            raise
        except UsageError:
            self._adopted = False
            raise
        if place is not None:
            await on_all_nodes(know, [(place, cls)])


async def finish(refs: Iterable[ActorRef[Any]], operation: Operation, token: str) -> None:
    """Commit or roll back; an actor that has ended meanwhile needs neither.

    Whoever is cancelled meanwhile still does it, for all of them: each is suspended until then.
    """
    cancelled: asyncio.CancelledError | None = None
    for ref in refs:
        for _ in range(_CANCELLATIONS):
            try:
                await ask(ref.within(None), operation, token)
            except asyncio.CancelledError as error:
                cancelled = error
                continue
            except (ActorExited, NotRunning):
                pass
            break
    if cancelled is not None:
        raise cancelled


async def on_all_nodes(operation: Operation, *args: Any) -> list[Any]:
    """Run `operation(node, *args)` on this node and on all others, but for those lost meanwhile."""
    node = this_node()
    results = [operation(node, *args)]
    for other in [] if node.route is None else node.route.other_nodes():
        try:
            results.append(await ask(ActorRef(other), operation, *args))
        except ActorExited as gone:
            if not isinstance(gone.reason, NoConnection):
                raise
    return results


def know(node: Node, known: Known) -> None:
    """Know actors of other nodes as being of these classes."""
    for ref, cls in known:
        cell = ref._cell
        if cell.state == REMOTE:
            cell.become(cls._kb_info, lambda fn: fn)
