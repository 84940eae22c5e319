"""What one kind of saga is: its class, its types and its options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..._kernel._errors import UsageError
from ..._supervision._restart import Backoff
from ..actors._codec import Codec, codec_of, type_name
from ..actors._identity import checked_name
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

    @property
    def events(self) -> Mapping[str, Any]:
        """The types of the events that are declared, by name."""
        declared: Mapping[str, Any] = self.cls.events
        return declared

    def event(self, name: str, type: Any = Any) -> Codec:
        """How an event of that name is stored.

        Args:
            type: what whoever asks takes it for, if that is said.

        Raises:
            UsageError: it is declared as something else, or others are and it is not.
        """
        checked_name("event's name", name, 128)
        if "#" in name:
            raise UsageError(f"an event's name is without '#', got {name!r}")
        if not self.events:
            return codec_of(type)
        if name not in self.events:
            known = ", ".join(map(repr, self.events))
            raise UsageError(
                f"{self.cls.__qualname__} takes the events {known}, got {name!r}; add it to its `events`"
            )
        declared = self.events[name]
        if type is not Any and type != declared:
            raise UsageError(
                f"{self.cls.__qualname__} declares the event {name!r} as {type_name(declared)}, and waits for "
                f"{type_name(type)}; leave the type of wait_event out, or change `events`"
            )
        return codec_of(declared)

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
