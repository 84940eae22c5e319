"""What one kind of saga is: its class, its types and its options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..._supervision._restart import Backoff
from ..actors._codec import Codec
from ._failing import Declared

if TYPE_CHECKING:
    from ._runner import Runner

__all__ = ["Spec"]


@dataclass(eq=False)
class Spec:
    """See the module; `kb.sagas` makes it and says what the options mean."""

    cls: Any
    make: Callable[[], Any]
    input: Codec
    result: Codec
    undo_retries: int
    undo_backoff: Backoff
    max_interruptions: int
    # Who waits on this loop for the end of which instance.
    waiting: dict[str, list[asyncio.Future[None]]] = field(default_factory=dict)
    # Instances that run here, by id.
    running: dict[str, Runner] = field(default_factory=dict)

    @property
    def errors(self) -> Declared:
        """The errors that come to `run` as themselves."""
        declared: Declared = self.cls.errors
        return declared

    def made(self, runner: Runner) -> Any:
        """A new object of the class, which runs by that runner."""
        saga = self.make()
        saga._kb_runner = runner
        return saga

    def notify(self, key: str) -> None:
        """The state of an instance has changed: whoever waits looks again."""
        for each in self.waiting.pop(key, ()):
            if not each.done():
                each.set_result(None)
