"""What is in a store, for the person who looks after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ._tables import SCHEMA_VERSION, TABLES

__all__ = ["StoreReport", "report_of"]

_ROWS = "SELECT count(*) FROM "
_TASKS = (
    "SELECT queue_name, state, count(*) FROM kb_task GROUP BY queue_name, state ORDER BY queue_name, state"
)
_DEAD = (
    "SELECT system_name, target_type, count(*) FROM kb_outbox WHERE state = 'dead'"
    " GROUP BY system_name, target_type ORDER BY system_name, target_type"
)
_KEYS = "SELECT key_id, count(*) FROM kb_data_key GROUP BY key_id ORDER BY key_id"


class StoreReport(NamedTuple):
    """A look at a store.

    Attributes:
        version: of its tables; 0: there are none.
        needed: the version that this koboshi works with.
        missing: tables and columns that this koboshi needs and that are not there.
        counts: rows by table.
        tasks: how many there are by queue and state.
        dead_letters: messages that could not be handled, by system and type of the actors that they are for.
        data_keys: of actors, by the key of a ring that seals them.
    """

    url: str
    version: int
    needed: int
    missing: list[str]
    counts: dict[str, int]
    tasks: dict[str, dict[str, int]]
    dead_letters: dict[str, int]
    data_keys: dict[str, int]

    @property
    def usable(self) -> bool:
        """Whether this koboshi can work with it as it is."""
        return self.version == self.needed and not self.missing


def report_of(
    url: str,
    version: int,
    found: Mapping[str, Collection[str]],
    ask: Callable[[str], Iterable[Sequence[Any]]],
) -> StoreReport:
    """What is in a store.

    Args:
        found: the tables that are there, with their columns.
        ask: runs a query.
    """
    missing = _missing_of(found)

    def counted(text: str) -> list[tuple[Any, ...]]:
        # Those of another version may have other columns.
        return [] if missing else [tuple(row) for row in ask(text)]

    counts = {name: int(count) for name in TABLES if name in found for (count,) in ask(_ROWS + name)}
    tasks: dict[str, dict[str, int]] = {}
    for queue, state, count in counted(_TASKS):
        tasks.setdefault(queue, {})[state] = int(count)
    dead = {f"{system}/{type}": int(count) for system, type, count in counted(_DEAD)}
    return StoreReport(
        *(url, version, SCHEMA_VERSION, missing, counts, tasks, dead),
        {key: int(count) for key, count in counted(_KEYS)},
    )


def _missing_of(found: Mapping[str, Collection[str]]) -> list[str]:
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
