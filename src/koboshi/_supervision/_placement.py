"""Where a child runs: the seam through which upper layers start children elsewhere.

A child spec says `on=`; without it the child runs on its supervisor's own event loop, and nothing of
this is used. Layers that can start actors elsewhere provide a placement for each word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .._kernel._errors import UsageError

if TYPE_CHECKING:
    from .._kernel._cell import Cell
    from .._kernel._node import Node
    from .._kernel._place import Place
    from ._spec import ChildSpec


@runtime_checkable
class Placement(Protocol):
    """Starts a child somewhere else."""

    def launch(
        self, spec: ChildSpec[Any], node: Node, parent: Cell, place: Place, args: tuple[Any, ...]
    ) -> Cell:
        """Start the child, linked to its supervisor and with `place` as its own; returns at once.

        Its `task` says how the start goes, as that of a coroutine `on_start` does.

        Raises:
            StartError: it cannot be started.
        """
        ...


_words: dict[str, Placement] = {}


def provide(word: str, placement: Placement) -> None:
    """Say what `on=word` means."""
    _words[word] = placement


def provide_names(placement: Callable[[str], Placement]) -> None:
    """Say what any other string means: `placement(name)` is the placement on the node of that name."""
    global _by_name
    _by_name = placement


_by_name: Callable[[str], Placement]


def placement_of(on: object) -> Placement:
    """The placement that `on=` stands for.

    Raises:
        UsageError: it is none.
    """
    if isinstance(on, str) and on:
        found = _words.get(on)
        return found if found is not None else _by_name(on)
    if isinstance(on, Placement):
        return on
    raise UsageError(
        f'on takes "process", "thread", the name of a node, or a placement such as kb.spread(); got {on!r}'
    )
