"""System messages: what is run over an actor between two of its messages, whatever its class.

They wait in the mailbox with all other mail, so what was sent before one has been handled when it is
served. An actor that is suspended serves them and nothing else. No mailbox is too full for them, and
one that fails is its caller's error and no crash of the actor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ._cell import DEAD, IDLE, NO_KWARGS, REMOTE, Cell
from ._errors import ActorExited, UsageError
from ._message import describe
from ._reasons import NoConnection
from ._wait import Request

if TYPE_CHECKING:
    from ._actor import Actor
    from ._ref import ActorRef

# Runs over the cell, in its turn, as the actor. One for another node is found there by its name.
Operation = Callable[..., Any]


def serve(actor: Actor, operation: Operation, /, *args: Any) -> Any:
    """Run one system message: this stands where the function of an ordinary one does."""
    cell = actor._kb_cell
    node = cell.node
    item = node.item
    assert item is not None
    assert len(item) == 5
    request = item[4]
    try:
        return operation(cell, *args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if request is not None:
            request.fail(error if isinstance(error, Exception) else _harmless(error, operation))
        return None
    finally:
        cell.handled -= 1  # the turn will count it with the messages


async def ask(ref: ActorRef[Any], operation: Operation, *args: Any, shown: object = None) -> Any:
    """Have `operation(cell, *args)` run over the actor at `ref`, on its node, and wait for the result.

    Args:
        shown: the function that errors name; the operation by default.

    Raises:
        CallTimeout, ActorExited, NotRunning, CallCycle: as `ActorRef.call`.
        UsageError: it is a bare process, which takes its mail itself.
        Exception: what the operation raised.
    """
    from ._calls import given_up, own_task, refuse_cycle, set_deadline

    cell = ref._target()
    shown = operation if shown is None else shown
    what = describe(shown)
    if get_ident() != cell.node.thread:
        raise ref._wrong_thread()
    if cell.state == DEAD:
        if isinstance(cell.doom, NoConnection):
            raise ActorExited(cell.label(), what, cell.doom, maybe_executed=False)
        raise ref._not_running(what)
    system = server_of(cell, what)
    node = cell.node
    caller = node.current
    request = Request(cell, shown, node.loop.time(), None)
    beyond = None
    if caller is not None and cell.state != IDLE and cell.state != REMOTE:
        beyond = refuse_cycle(caller, cell, operation)
    set_deadline(request, ref._within, caller)
    try:
        cell.post((system, (operation, *args), NO_KWARGS, copy_context(), request))
        if beyond is not None:
            beyond.route.probe(beyond, request)
        return await request.outcome(own_task(caller, node), node.loop)
    finally:
        given_up(request)


def _harmless(error: BaseException, operation: Operation) -> UsageError:
    """Stands for what would end or cancel the one who asked."""
    refused = UsageError(f"what {describe(operation)} ran raised {error!r}, and ran in another process")
    refused.__cause__ = error
    return refused


def server_of(cell: Cell, what: str) -> Callable[..., Any]:
    """What stands in a system message for this cell.

    Raises:
        UsageError: it is a bare process, with no runtime to serve one.
    """
    if cell.info.system is None:
        raise UsageError(
            f"{cell.label()} is a bare process and takes its mail itself, so nobody can serve {what} there; "
            "kb.info tells what can be seen of it from outside"
        )
    return cell.info.system
