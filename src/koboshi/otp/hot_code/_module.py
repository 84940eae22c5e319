"""`upgrade_module`: a module is loaded again in every process, and the actors of its classes go on with it.

Either all of them do or none: until all have been prepared nobody has run new code, and then each commits.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ..._kernel._actor import Actor, ActorClass
from ..._kernel._errors import ActorExited, NotRunning, UsageError
from ..._kernel._node import Node
from ..._kernel._ref import ActorRef
from ..._kernel._self import nobody
from ..._supervision._child import Child
from ..._supervision._spec import ChildSpec
from ..._supervision._supervisor import Supervisor
from ._change import class_named, commit, prepare_named, roll_back, succeed
from ._errors import UpgradeFailed
from ._upgrade import finish, know, new_token, on_all_nodes, prepared_for

# Refs with the names that their actors' classes have in the module.
Named = list[tuple[ActorRef[Any], str]]


@dataclass(slots=True)
class _Reload:
    """One reload of one module in this process, and what it takes to undo it."""

    module: ModuleType
    before: dict[str, Any]
    records: dict[type[Actor], ActorClass] = field(default_factory=dict)
    specs: list[tuple[Child, ChildSpec[Any]]] = field(default_factory=list)


# By the name of the whole upgrade: threads that are nodes share one process and its modules.
_reloads: dict[str, _Reload] = {}


async def upgrade_module(module: ModuleType | str) -> int:
    """Load a module again on every node that has it, and upgrade the actors of its classes; returns how many.

    Each actor goes on with the class of the same name, as by `upgrade`. Whatever starts one of the old
    classes from now on, such as a child spec, starts the new one. If anything fails, the old module is back
    on all nodes, and every actor has its old class and its old state.

    Raises:
        UpgradeFailed: the module could not be loaded, a class is gone that has actors, or a migration failed.
        UsageError: it is no module that has been imported.
        CallTimeout: an actor was busy for 5 s.
    """
    name: object = module.__name__ if isinstance(module, ModuleType) else module
    if not isinstance(name, str) or name not in sys.modules:
        raise UsageError(f"upgrade_module takes a module that has been imported, or its name; got {module!r}")
    if name == "__main__":
        raise UsageError(
            "the program's main script cannot be loaded again; put the classes into a module that it imports"
        )
    token = new_token()
    found: Named = [each for here in await on_all_nodes(find, name) for each in here]
    prepared: Named = []
    places: Named = []
    try:
        await on_all_nodes(reload, name, token)
        for ref, qualname in found:
            try:
                await prepared_for(ref, token, prepare_named, name, qualname)
            except (ActorExited, NotRunning):  # it has ended meanwhile
                continue
            prepared.append((ref, qualname))
        await on_all_nodes(know_named, name, prepared)
        places += [each for here in await on_all_nodes(renew, token) for each in here]
        await on_all_nodes(know_named, name, places)
    except BaseException:
        await on_all_nodes(undo, token)
        await finish([ref for ref, _ in prepared], roll_back, token)
        await on_all_nodes(know_named, name, prepared + places)
        raise
    await finish([ref for ref, _ in prepared], commit, token)
    await on_all_nodes(forget, token)
    return len(prepared)


# -- run on every node ----------------------------------------------------------------------------


def find(node: Node, name: str) -> Named:
    """The actors here whose class is in the module, with its name there."""
    return [
        (ActorRef(cell), type(cell.actor).__qualname__)
        for cell in node.cells.values()
        if type(cell.actor).__module__ == name
        and cell.info.system is not None
        # One that a function has made is not made again by loading the module.
        and "<locals>" not in type(cell.actor).__qualname__
    ]


def reload(node: Node, name: str, token: str) -> None:
    """Load the module again in this process, once, and have its classes take the place of the old ones.

    Raises:
        UpgradeFailed: it raised; the old module is back.
    """
    module = sys.modules.get(name)
    if module is None or token in _reloads:
        return
    done = _Reload(module, dict(vars(module)))
    importlib.invalidate_caches()
    try:
        importlib.reload(module)
    except BaseException as error:
        _restore(done)
        if not isinstance(error, Exception):
            raise
        raise UpgradeFailed(f"the module {name}", f"{type(error).__name__}: {error}") from error
    _reloads[token] = done
    for old in _classes_in(done.before, name):
        new = class_named(name, old.__qualname__)
        if new is not None and new is not old:
            done.records[old] = old._kb_info
            succeed(old, old._kb_info, new)
            # From here on, whoever starts the old class starts the new one.
            old._kb_info = new._kb_info


def renew(node: Node, token: str) -> Named:
    """Have supervisors here start the new classes; returns stable refs to the children that this is about."""
    done = _reloads.get(token)
    places: Named = []
    for cell in () if done is None else tuple(node.cells.values()):
        supervisor = cell.actor
        if not isinstance(supervisor, Supervisor):
            continue
        for child in supervisor._children.values():
            spec = child.spec
            if done is not None and spec.target in done.records:
                new = spec.target._kb_info.cls
                child.spec = dataclasses.replace(spec, target=new)
                done.specs.append((child, spec))
                places.append((ActorRef(child.cell or nobody(new), child.place), new.__qualname__))
    return places


def know_named(node: Node, name: str, known: Named) -> None:
    """Know actors of other nodes as being of the classes of these names."""
    for ref, qualname in known:
        cls = class_named(name, qualname)
        if cls is not None:
            know(node, [(ref, cls)])


def undo(node: Node, token: str) -> None:
    """Have the old module back in this process."""
    done = _reloads.pop(token, None)
    if done is None:
        return
    _restore(done)
    for old, info in done.records.items():
        old._kb_info = info
    for child, spec in done.specs:
        child.spec = spec


def forget(node: Node, token: str) -> None:
    """It cannot be undone any more."""
    _reloads.pop(token, None)


def _restore(done: _Reload) -> None:
    namespace = vars(done.module)
    namespace.clear()
    namespace.update(done.before)


def _classes_in(namespace: Mapping[str, Any], module: str) -> Iterator[type[Actor]]:
    """The actor classes that the module has defined, also inside other classes."""
    for value in tuple(namespace.values()):
        if isinstance(value, type) and value.__module__ == module:
            if issubclass(value, Actor):
                yield value
            yield from _classes_in(value.__dict__, module)
