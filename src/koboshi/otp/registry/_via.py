"""Keys as addresses: the place behind `via`, and the name under which a child may be started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel._bonds import NameElsewhere
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import UsageError
from ..._kernel._place import Place
from ..._kernel._ref import ActorRef
from .._answering import expect

if TYPE_CHECKING:
    from ..._kernel._actor import Actor
    from ._registry import Registry


def registry_here(ref: ActorRef[Registry]) -> Registry | None:
    """The registry at a ref when it runs on this loop."""
    cell = ref._target()
    if cell.state in (DEAD, REMOTE):
        return None
    actor: Registry | None = cell.actor
    return actor


class KeyPlace(Place):
    """Whoever is registered under a key at the moment of each send.

    It is on the registry's loop. A ref to it that has gone to another node leads back here for each send, so
    there is one answer to who holds the key, and none that is late.
    """

    __slots__ = ("_cls", "_key", "_registry")
    by_name = True

    def __init__(self, registry: ActorRef[Registry], key: Any, cls: type[Actor]) -> None:
        self._registry = registry
        self._key = key
        # Part of what it is: on another node it decides which messages may be sent there.
        self._cls = cls

    @property
    def cell(self) -> Cell | None:  # type: ignore[override]
        registry = registry_here(self._registry)
        if registry is None:
            return None
        found = registry.partition(self._key).under(self._key)
        return found[0].cell if found else None

    def label(self) -> str:
        return f"key {self._key!r} of {self._registry._target().label()}"

    def vacancy(self) -> tuple[str, str]:
        return f"nobody is registered under the {self.label()}", "`lookup` says who is under a key now"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyPlace) and self._registry == other._registry and self._key == other._key

    def __hash__(self) -> int:
        return hash((KeyPlace, self._key))


class KeyName(NameElsewhere):
    """A key of a registry in place of a name: `kb.child(Room).options(name=rooms.name("lobby"))`."""

    __slots__ = ("_key", "_registry", "_value")

    def __init__(self, registry: ActorRef[Registry], key: Any, value: Any) -> None:
        self._registry = registry
        self._key = key
        self._value = value

    def register(self, cell: Cell) -> None:
        """Register the process before any of its code runs."""
        if self._registry._target().state == REMOTE:
            raise UsageError(
                f"{self!r} is kept on another node than the child's; let the child register itself: "
                "`await otp.registry(...).register(key)` in its on_start"
            )
        # The handle has typed its ref, so this is the registry's class.
        expect(self._registry, self._registry._cell.info.cls)
        registry = registry_here(self._registry)
        if registry is None:
            raise self._registry._not_running("Registry.register")
        registry.partition(self._key).register(cell, self._key, self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyName, (self._registry, self._key, self._value)

    def __repr__(self) -> str:
        return f"<KeyName {self._key!r} of {self._registry!r}>"
