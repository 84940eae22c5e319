"""What a registry tells: its entries, its events, its figures and its one error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import NameTaken
from ..._kernel._ref import ActorRef


@dataclass(frozen=True, slots=True)
class Registration:
    """One process under one key, with the value that it gave."""

    key: Any
    ref: ActorRef[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Registered:
    """To listeners: a process has registered. `registry` is how the registry prints."""

    registry: str
    key: Any
    ref: ActorRef[Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Unregistered:
    """To listeners: a process has unregistered, or has ended."""

    registry: str
    key: Any
    ref: ActorRef[Any]


@dataclass(frozen=True, slots=True)
class RegistryStatistics:
    """A registry at one moment.

    Attributes:
        keys: "unique" or "duplicate".
        entries: registrations of living processes.
        distinct: keys that have at least one.
        processes: living processes that have at least one.
        partitions: actors that share the keys.
    """

    keys: str
    entries: int
    distinct: int
    processes: int
    partitions: int


class AlreadyRegistered(NameTaken):
    """A living process holds this key; `owner` is its ref, None in another OS process."""

    def __init__(self, key: object, owner: ActorRef[Any] | None) -> None:
        super().__init__(key, owner)
        self.key = key
