"""Places: what a stable ref names, and who is there now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from ._cell import Cell
    from ._node import Node


class Place:
    """Somewhere in a supervision tree. `cell` is who is there now, None when nobody is.

    A supervisor's place knows the places of its children, so a stable ref to one of them goes on
    working when the supervisor itself is restarted, or the child deleted and added again. It knows
    them weakly: a place lasts while a child or a ref has it.
    """

    __slots__ = ("__weakref__", "_inner", "_label", "cell")
    by_name = False

    def __init__(self, label: str) -> None:
        self._label = label
        self._inner: WeakValueDictionary[Any, Place] | None = None
        self.cell: Cell | None = None

    def inner(self, id: Any) -> Place:
        """The place of the child `id` of the supervisor that is here."""
        if self._inner is None:
            self._inner = WeakValueDictionary()
        place = self._inner.get(id)
        if place is None:
            place = self._inner[id] = Place(f"{self._label}/{id}")
        return place

    def label(self) -> str:
        """How it prints."""
        return self._label

    def vacancy(self) -> tuple[str, str] | None:
        """Nobody is here: what to say of it, and what to do; None where "is not running" is enough."""
        return None


class NamePlace(Place):
    """A registered name of one node: whoever holds it at the moment of each send."""

    __slots__ = ("_name", "_node")
    by_name = True

    def __init__(self, node: Node, name: Any) -> None:
        self._node = node
        self._name = name

    @property
    def cell(self) -> Cell | None:  # type: ignore[override]
        return self._node.names.get(self._name)

    def label(self) -> str:
        return f"name {self._name!r}"

    def vacancy(self) -> tuple[str, str]:
        return (
            f"nobody has the name {self._name!r}",
            f"a child is given it with .options(name={self._name!r}), and is without it between two restarts",
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamePlace) and (self._node, self._name) == (other._node, other._name)

    def __hash__(self) -> int:
        return hash(self._name)
