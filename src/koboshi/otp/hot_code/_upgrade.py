"""`upgrade`: another class for one running actor, with all who know it told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._kernel._actor import Actor
from ..._kernel._cell import REMOTE
from ..._kernel._errors import ActorExited, NotRunning
from ..._kernel._node import Node, this_node
from ..._kernel._reasons import NoConnection
from ..._kernel._ref import ActorRef
from ..._kernel._self import actor_class
from ..._kernel._system import Operation, ask
from .._target import Target, ref_to
from ._change import Prepared, adopt, class_now, commit, prepare, roll_back

Known = list[tuple[ActorRef[Any], type[Actor]]]


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
    target = ref_to(ref)
    prepared: Prepared = await ask(target, prepare, cls)
    try:
        await _tell(prepared, cls)
    except BaseException:
        await finish([prepared.ref], roll_back)
        await _tell(prepared, await ask(prepared.ref, class_now))
        raise
    await finish([prepared.ref], commit)


async def _tell(prepared: Prepared, cls: type[Actor]) -> None:
    """Tell all who know the actor what its class is: other nodes, and its supervisor."""
    await on_all_nodes(know, [(prepared.ref, cls)])
    if prepared.supervisor is None:
        return
    try:
        place = await ask(prepared.supervisor, adopt, prepared.ref, cls)
    except (ActorExited, NotRunning):  # whoever starts the child next does so by a spec of its own
        return
    if place is not None:
        await on_all_nodes(know, [(place, cls)])


async def finish(refs: Iterable[ActorRef[Any]], operation: Operation) -> None:
    """Commit or roll back; an actor that has ended meanwhile needs neither."""
    for ref in refs:
        try:
            await ask(ref.within(None), operation)
        except (ActorExited, NotRunning):
            continue


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
