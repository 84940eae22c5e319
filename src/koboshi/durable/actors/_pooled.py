"""Pooled kinds: some workers without any state, and a message goes to whichever is free. They have no rows.

What a worker's turn sends, publishes or executes is one transaction, and its reply leaves after that, as with any
durable actor. There is nothing to fence: a worker has nothing that another one could have changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._kernel._cell import DEAD, IDLE
from ..._kernel._errors import UsageError
from ..._kernel._reasons import Exit
from ._activation import Activation
from ._claim import Claimed
from ._identity import Identity
from ._kind import Kind

if TYPE_CHECKING:
    from ._kind import Ready

__all__ = ["ANY", "PooledActivation", "PooledKind"]

#: The key of whichever worker is free.
ANY = "*"


class _Workers(dict[str, Activation]):
    """Those of one kind by key; under `ANY` is the one with the least to do, in turn where several have as little."""

    def get(self, key: str, default: Any = None) -> Any:
        if key != ANY:
            return super().get(key, default)
        found = min((each for each in self.values() if each.cell.state != DEAD), key=_load, default=None)
        if found is None:
            return default
        # Behind the others from here on.
        self[found.who.key] = self.pop(found.who.key)
        return found


def _load(activation: Activation) -> int:
    cell = activation.cell
    return len(cell.mailbox or ()) + (cell.state != IDLE)


class PooledActivation(Activation):
    """A worker of a pooled kind."""

    __slots__ = ()

    def finish(self, run: Any, value: Any, request_id: str | None) -> Any:
        """See `Activation.finish`: there is no state, and so nothing to write but what the turn wants done."""
        if self.actor._kb_encoded() != self.blob:
            raise UsageError(
                f"{run.__qualname__} has changed the state of {self.who}, and a pooled actor has none"
            )
        if self.effects is None:
            return value
        return self._join(run, value, None, self.blob, self.revision + 1)


class PooledKind(Kind):
    """See the module."""

    def __init__(self, definition: Any) -> None:
        super().__init__(definition)
        self.active = _Workers()
        self._serial = 0

    async def on_start(self) -> None:
        await super().on_start()
        for _ in range(self.definition.pooled):
            self._add()

    def wake(self, key: str, ready: Ready) -> None:
        """Whoever is free; there always is one, unless the kind ends."""
        found = self.active.get(key)
        ready(found, None if found is not None else self._ended(key))

    def _add(self) -> None:
        self._serial += 1
        definition = self.definition
        # New for each: the numbers of what it sends begin anew.
        key = f"{self.store.incarnation}.{self._serial}"
        codec, version = definition.codec.name, definition.schema_version
        claimed = Claimed(b"", None, "", 0, None, 0, codec, None, version, None, None)
        self._start(Identity(definition.system, definition.type, key), b"", claimed)

    def on_exit(self, exit: Exit) -> None:
        """A worker has ended: another one takes its place."""
        super().on_exit(exit)
        while not self._stopping and len(self.active) < self.definition.pooled:
            self._add()

    def _give_back_after(self, activation: Activation) -> None:
        """It has no row."""
