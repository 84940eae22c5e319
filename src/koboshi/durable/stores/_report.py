"""What is in a store, for the person who looks after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ._tables import TABLES

__all__ = ["StoreReport", "missing_of"]


class StoreReport(NamedTuple):
    """A look at a store.

    Attributes:
        version: of its tables; 0: there are none.
        needed: the version that this koboshi works with.
        missing: tables and columns that this koboshi needs and that are not there.
        counts: rows by table.
    """

    url: str
    version: int
    needed: int
    missing: list[str]
    counts: dict[str, int]

    @property
    def usable(self) -> bool:
        """Whether this koboshi can work with it as it is."""
        return self.version == self.needed and not self.missing


def missing_of(found: Mapping[str, Collection[str]]) -> list[str]:
    """What of the tables is not among those found, which map to their columns."""
    missing: list[str] = []
    for table in TABLES.values():
        columns = found.get(table.name)
        if columns is None:
            missing.append(f"table {table.name}")
        else:
            missing += [
                f"column {table.name}.{each.name}" for each in table.columns if each.name not in columns
            ]
    return missing
