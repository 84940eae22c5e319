"""The seam between a store and the thing that commits its groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ._operation import Operation, Outcome

__all__ = ["Engine"]


class Engine(Protocol):
    """Commits groups, one after another, somewhere else than on the event loop."""

    #: As it is shown: without a password.
    url: str

    async def open(self, host: str) -> None:
        """Connect, and make or check the tables.

        Args:
            host: whose writes are counted in its row.

        Raises:
            StoreUnusable: what is there cannot be used; it was not changed.
            StoreUnavailable: nobody is there, no space, locked.
        """
        ...

    def commit(self, operations: Sequence[Operation[Any]], done: Callable[[list[Outcome]], None]) -> None:
        """Have a group committed; `done` is called on the event loop. One group at a time."""
        ...

    async def close(self) -> None:
        """Let the database go. May be called again."""
        ...

    def lost_hosts(self, hosts: Sequence[tuple[str, str]]) -> list[str]:
        """Which of these hosts (id, incarnation) are surely gone, whatever their leases say; at once."""
        ...

    async def absent_hosts(self, hosts: Sequence[tuple[str, str]], settled: float) -> list[str]:
        """Which of these hosts (id, incarnation) seem to be gone; takes a moment, in which groups may be committed.

        Args:
            settled: seconds within which a host comes back that has lost its connection and lives.
        """
        ...
