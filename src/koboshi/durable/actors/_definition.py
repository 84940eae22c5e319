"""What one kind of durable actor is: its class, its store, and its options, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..._kernel._errors import NameTaken
from .._failures import UnknownType
from ..stores import StoreURL
from ._claim import Claimed, ReadMore
from ._codec import CODECS, Codec
from ._seal import Sealer
from ._state import Upcasters, decoded
from ._write import Write

if TYPE_CHECKING:
    from ._activation import Activation
    from ._kind import Kind

__all__ = ["DURABILITIES", "Definition"]

DURABILITIES = ("commit", "snapshot", "memory")


@dataclass(eq=False)
class Definition:
    """See the module; `kb.durable` makes it and says what the options mean."""

    cls: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    system: str
    type: str
    store: StoreURL
    codec: Codec
    sealer: Sealer
    name: str | None
    durability: str
    snapshot_every: float
    deactivate_after: float | None
    max_active: int
    lease: float
    mailbox: int | None
    max_attempts: int
    read_more: ReadMore | None = None
    # Who runs it on this loop now.
    live: Kind | None = None
    _protocol: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def schema_version(self) -> int:
        """The version of the state's type that this program writes."""
        version: int = self.cls.schema_version
        return version

    @property
    def upcasters(self) -> Upcasters:
        """What brings older states up to date."""
        found: Upcasters = self.cls.upcasters
        return found

    def check_free(self) -> None:
        """Raise `NameTaken` if it runs already: two would take each other's actors away."""
        if self.live is not None:
            raise NameTaken(f"durable {self.type}", self.live.me)

    def message(self, name: str) -> Callable[..., Any] | None:
        """The message of that name, by which it is stored."""
        if not self._protocol:
            self._protocol = {fn.__name__: fn for fn in self.cls._kb_info.protocol}
        return self._protocol.get(name)

    def load(self, activation: Activation, claimed: Claimed) -> None:
        """Give an actor that is about to start the state of its row, or its first one."""
        self.cls._kb_load(activation.actor, activation, claimed)

    def state_of(self, activation: Activation, claimed: Claimed) -> Any:
        """The state in a row.

        Raises:
            Corrupted: it cannot be used.
        """
        who, blob = activation.who, claimed.state
        if claimed.codec not in CODECS:
            raise UnknownType(
                str(who), f"its state is written by the codec {claimed.codec!r}, known are {CODECS}"
            )
        assert blob is not None
        plain = activation.sealer.open(who, "state", claimed.state_revision, bytes(blob))
        return decoded(
            who,
            "state",
            self.codec,
            claimed.codec,
            plain,
            claimed.schema_version,
            self.schema_version,
            self.upcasters,
        )

    def sealing(self, activation: Activation) -> Callable[[Write], tuple[Any, ...] | None]:
        """What a write asks for when it is handed over: the state as it is to be stored."""

        def sealed(write: Write) -> tuple[Any, ...] | None:
            blob = activation.blob
            activation.handed_over(write)
            stored, key_id = activation.sealer.seal(activation.who, "state", write.after, blob)
            return stored, write.after, self.codec.name, key_id, self.schema_version

        return sealed
