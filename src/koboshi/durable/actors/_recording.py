"""An activation that keeps the state of every revision, so that it can be read again."""

from __future__ import annotations

from typing import Any

from ..stores import Row
from ._activation import Activation

__all__ = ["STATE", "KeepingActivation", "event_number"]

#: The type under which a state is kept among the events.
STATE = "state"


def event_number(revision: int, type: str, version: int) -> str:
    """What the bytes of an event are bound to besides its actor."""
    return f"{revision} {type} {version}"


class KeepingActivation(Activation):
    """See the module."""

    __slots__ = ()

    def _join(
        self,
        run: Any,
        value: Any,
        request_id: str | None,
        blob: bytes,
        revision: int,
        events: list[Row] | None = None,
    ) -> Any:
        definition = self.kind.definition
        version = definition.schema_version
        sealed, key_id = self.sealer.seal(self.who, "event", event_number(revision, STATE, version), blob)
        row = (*self.who, revision, STATE, version, sealed, definition.codec.name, key_id)
        return super()._join(run, value, request_id, blob, revision, [*(events or ()), row])
