"""One actor's change of class, in three system messages: prepare, then commit or roll back.

After `prepare` the actor has its new class and state, and is suspended. Until `commit` nothing has been
handled by the new class, so `roll_back` loses nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..._kernel._actor import Actor, ActorClass
from ..._kernel._cell import DEAD, Cell
from ..._kernel._errors import UsageError
from ..._kernel._message import answer_for
from ..._kernel._ref import ActorRef
from ..._supervision._supervisor import Supervisor
from ..introspection._debug import class_of, set_class
from ..statemachine._machine import StateMachine
from ._errors import UpgradeFailed

_KEY = "upgrade"


@dataclass(frozen=True, slots=True)
class _Before:
    """What an actor goes back to, and the name of the upgrade that it would go back from."""

    token: str
    cls: type[Actor]
    info: ActorClass
    attributes: dict[str, Any]
    suspended: bool
    # Takes back what the new class has done to what the runtime keeps.
    undo: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """An actor that has its new class and is suspended.

    Attributes:
        ref: its pid ref.
        supervisor: who has it as a child, None if nobody has.
    """

    ref: ActorRef[Any]
    supervisor: ActorRef[Any] | None


def prepare(cell: Cell, token: str, cls: type[Actor]) -> Prepared:
    """Give the actor another class and have its state migrated, for the upgrade of this name.

    Raises:
        UpgradeFailed: nothing has changed.
    """
    actor, traits = cell.actor, cell.own_traits()
    old: type[Actor] = actor.__class__
    if _KEY in traits.kept and traits.suspended:
        raise _failed(cell, old, cls, "another upgrade of it is under way")
    if issubclass(old, Supervisor) != issubclass(cls, Supervisor):
        raise _failed(cell, old, cls, "a supervisor stays a supervisor, and no other actor becomes one")
    if issubclass(old, StateMachine) and not issubclass(cls, StateMachine):
        raise _failed(cell, old, cls, "a state machine stays one: nobody else knows its state and timeouts")
    before = _Before(token, old, class_of(cell), actor._kb_attributes(), traits.suspended)
    try:
        actor.__class__ = cls
        state = actor.code_change(getattr(old, "version", None), dict(before.attributes))
        _check_state(cls, state)
        actor._kb_set_attributes(state)
        undo = actor._kb_class_changed(getattr(old, "version", None))
    except BaseException as error:
        _put_back(cell, before)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _failed(cell, old, cls, f"{type(error).__name__}: {error}") from error
    succeed(old, before.info, cls)
    traits.kept[_KEY] = dataclasses.replace(before, undo=undo)
    _use(cell, cls._kb_info)
    traits.suspended = True
    return Prepared(ActorRef(cell), _supervisor_of(cell))


def prepare_named(cell: Cell, token: str, module: str, qualname: str) -> None:
    """The same with a class that the actor's node finds in a module of its own."""
    found = class_named(module, qualname)
    old: type[Actor] = cell.actor.__class__
    if found is None or found is old:  # a module that is loaded again keeps names that it does not set
        raise UpgradeFailed(
            cell.label(),
            f"{module} has no actor class {qualname} any more",
            old=old.__qualname__,
            new=qualname,
        )
    prepare(cell, token, found)


def class_named(module: str, qualname: str) -> type[Actor] | None:
    """The actor class of this name in a module of this process."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Actor) else None


def class_now(cell: Cell) -> type[Actor]:
    """The actor's class."""
    cls: type[Actor] = cell.actor.__class__
    return cls


def is_prepared(cell: Cell, token: str) -> bool:
    """Whether the actor has a class of this upgrade, and is suspended for it.

    Whoever has resumed it meanwhile has decided: it has handled messages, and goes on with that class.
    """
    traits = cell.traits
    if traits is None or not traits.suspended:
        return False
    before: _Before | None = traits.kept.get(_KEY)
    return before is not None and before.token == token


def commit(cell: Cell, token: str) -> None:
    """Let the actor go on with its new class."""
    if not is_prepared(cell, token):
        return
    before: _Before = cell.own_traits().kept.pop(_KEY)
    if not before.suspended:
        cell.node.resume(cell)


def roll_back(cell: Cell, token: str) -> None:
    """Let the actor go on with its old class and its old state; nothing happens when it has them."""
    if not is_prepared(cell, token):
        return
    before: _Before = cell.own_traits().kept.pop(_KEY)
    _put_back(cell, before)
    _use(cell, before.info)
    if not before.suspended:
        cell.node.resume(cell)


def adopt(cell: Cell, child: ActorRef[Any], cls: type[Actor]) -> ActorRef[Any] | None:
    """Have a supervisor start its child with this class from now on; returns the child's stable ref.

    None when it is no child of its any more.

    Raises:
        UsageError: the arguments of its spec do not fit the class.
    """
    supervisor = cell.actor
    if not isinstance(supervisor, Supervisor):
        return None
    record = supervisor._by_cell.get(child._target())
    if record is None:
        return None
    spec = dataclasses.replace(record.spec, target=cls)
    if spec.restart != "temporary":  # whose arguments have been forgotten: it is never started again
        spec.check(supervisor._extra())
    record.spec = spec
    return ActorRef(record.cell if record.cell is not None else cell, record.place)


def succeed(old: type[Actor], info: ActorClass, cls: type[Actor]) -> None:
    """Have a class answer for the one before it: by its messages' functions, and as the type of refs."""
    answer_for(info.protocol, cls._kb_info.protocol)
    if old not in cls._kb_info.replaces and old is not cls:
        cls._kb_info.replaces += (old, *(each for each in info.replaces if each is not cls))


def _put_back(cell: Cell, before: _Before) -> None:
    cell.actor.__class__ = before.cls
    cell.actor._kb_set_attributes(before.attributes)
    if before.undo is not None:
        before.undo()


def _use(cell: Cell, info: ActorClass) -> None:
    set_class(cell, info)
    cell.stop_due = info.on_stop is not None


def _check_state(cls: type[Actor], state: object) -> None:
    if inspect.iscoroutine(state):
        state.close()
        raise UsageError(
            f"{cls.__qualname__}.code_change is called between two messages, so it is a plain def"
        )
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):  # pyright: ignore[reportUnknownVariableType]
        raise UsageError(
            f"{cls.__qualname__}.code_change returns the new attributes in a dict by name, got {state!r}"
        )


def _supervisor_of(cell: Cell) -> ActorRef[Any] | None:
    parent = cell.parent
    if parent is None or parent.state == DEAD or not getattr(parent.info.cls, "_kb_is_supervisor", False):
        return None
    return ActorRef(parent)


def _failed(cell: Cell, old: type[Actor], new: type[Actor], why: str) -> UpgradeFailed:
    return UpgradeFailed(cell.label(), why, old=old.__qualname__, new=new.__qualname__)
