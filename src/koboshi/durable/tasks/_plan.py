"""What the parts of one queue share: its options and names."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import UsageError
from ..._supervision._options import seconds, whole
from ..actors._key_ring import KeyRing
from ..stores import StoreURL, check_url
from ._claim import Rate
from ._options import text
from ._vault import Vault

__all__ = ["Plan"]

_NAME_LIMIT = 128


@dataclass(frozen=True)
class Plan:
    """The options of a queue; see `Queue`."""

    name: str
    store: StoreURL
    limit: int | None
    rate: Rate | None
    keep_results: float | None
    max_bytes: int
    lease: float
    keep_dead: float | None = None
    keys: KeyRing | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        text("the name of a queue", self.name, _NAME_LIMIT)
        check_url(self.store)
        if self.limit is not None:
            whole("limit", self.limit, 1)
        if self.rate is not None and not isinstance(self.rate, Rate):
            raise UsageError(f"rate takes a kb.Rate such as kb.Rate(100, per=60.0), got {self.rate!r}")
        seconds("keep_results", self.keep_results, none=True)
        whole("max_bytes", self.max_bytes, 1)
        seconds("lease", self.lease)
        seconds("keep_dead", self.keep_dead, none=True)
        if self.keys is not None and not isinstance(self.keys, KeyRing):
            raise UsageError(f"keys takes a kb.KeyRing, got a {type(self.keys).__name__}")

    @functools.cached_property
    def vault(self) -> Vault:
        """Seals what is stored."""
        return Vault(self.name, self.keys)

    @functools.cached_property
    def key(self) -> tuple[str, Any]:
        """How it is found on its event loop."""
        return self.name, self.store

    @functools.cached_property
    def shown(self) -> str:
        """Its store, for errors."""
        if not isinstance(self.store, str):
            return repr(self.store)
        scheme, mark, rest = self.store.partition("://")
        return f"{scheme}{mark}{rest.rpartition('@')[2]}"

    def part(self, name: str) -> tuple[str, str, Any, str]:
        """The registered name of a part."""
        return ("koboshi queue", self.name, self.store, name)
