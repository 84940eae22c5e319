"""An activation that keeps the state of every revision, so that it can be read again."""

from __future__ import annotations

from typing import Any

from ..stores import Row
from ._activation import Activation
from ._numbers import event_number

__all__ = ["STATE", "KeepingActivation"]

#: The type under which a state is kept among the events.
STATE = "state"


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
        codec = definition.codec.name
        number = event_number(revision, STATE, version, codec)
        sealed, key_id = self.sealer.seal(self.who, "event", number, blob)
        row = (*self.who, revision, STATE, version, sealed, codec, key_id)
        return super()._join(run, value, request_id, blob, revision, [*(events or ()), row])
