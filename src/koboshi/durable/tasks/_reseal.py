"""Sealing the values of a queue anew, while its tasks go on.

As with actors a value that does not open is left as it is and named; the others go on.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from .._failures import Corrupted
from ..actors._rotation import KeyRotation
from ..stores import Row, Select, Session, Store
from ..stores._tables import TASK, TASK_BATCH
from ._vault import Vault, key_of

__all__ = ["keys_in_use", "reseal"]

_TASKS = Select(
    "SELECT task_id, state, token, function_name, payload, result, report FROM kb_task "
    "WHERE queue_name = :queue AND task_id > :after ORDER BY task_id LIMIT :most"
)
_BATCHES = Select(
    "SELECT batch_id, function_name, payload FROM kb_task_batch "
    "WHERE queue_name = :queue AND batch_id > :after ORDER BY batch_id LIMIT :most"
)

V = TypeVar("V", bytes, str)


class _Portion(NamedTuple):
    """What was done in one transaction: the last id, None if there are no more; values sealed; and what was not."""

    last: str | None
    sealed: int
    problems: list[str]


async def reseal(store: Store, queue: str, vault: Vault, most: int) -> KeyRotation:
    """Seal all values of a queue anew that another key, or none, has sealed; `most` rows in one transaction."""
    rotation = KeyRotation(0, 0, ())
    for change in (_reseal_tasks, _reseal_batches):
        after: str | None = ""
        while after is not None:
            portion = functools.partial(change, queue=queue, vault=vault, after=after, most=most)
            after, sealed, problems = await store.change(portion)
            rotation = rotation.with_portion(sealed, problems)
    return rotation


async def keys_in_use(store: Store, queue: str, most: int = 1_000) -> dict[str | None, int]:
    """How many values of a queue each key seals; None: not encrypted."""
    found: Counter[str | None] = Counter()
    # What is behind these columns is sealed where there are keys.
    for query, first in ((_TASKS, 4), (_BATCHES, 2)):
        after: str | None = ""
        while after is not None:
            rows = await store.read(
                functools.partial(_portion, query=query, queue=queue, after=after, most=most)
            )
            found.update(key_of(value) for row in rows for value in row[first:] if value is not None)
            after = rows[-1][0] if rows else None
    return dict(found)


def _portion(session: Session, query: Select, queue: str, after: str, most: int) -> list[Row]:
    return session.fetch(query, queue, after, most)


def _reseal_tasks(session: Session, queue: str, vault: Vault, after: str, most: int) -> _Portion:
    rows = session.fetch(_TASKS, queue, after, most)
    problems: list[str] = []
    sealed, changes = 0, list[Row]()
    for row in rows:
        values = _values(vault, row, problems)
        count = sum(new is not old for new, old in zip(values, row[4:], strict=True))
        if count:
            sealed += count
            changes.append((queue, *row[:3], *values))
    # A task that has gone on since it was read is written by somebody else: then it is not changed, and read again.
    match = ("queue_name", "task_id", "state", "token")
    done = session.update(TASK, match, ("payload", "result", "report"), changes) if changes else 0
    if done < len(changes):
        return _Portion(after, 0, [])
    return _Portion(rows[-1][0] if rows else None, sealed, problems)


def _values(vault: Vault, row: Row, problems: list[str]) -> Row:
    id, _, _, function, payload, result, report = row
    return (
        _anew(vault, payload, problems, lambda: _anew_arguments(vault, id, function, payload)),
        _anew(vault, result, problems, lambda: vault.seal_result(id, vault.open_result(id, result))),
        _anew(vault, report, problems, lambda: vault.seal_report(id, vault.open_report(id, report))),
    )


def _anew(vault: Vault, stored: V | None, problems: list[str], seal: Callable[[], V | None]) -> V | None:
    """The value sealed with the current key; the very same one where it is already, or cannot be."""
    if stored is None or vault.is_current(stored):
        return stored
    try:
        return seal()
    except Corrupted as error:
        problems.append(str(error))
        return stored


def _reseal_batches(session: Session, queue: str, vault: Vault, after: str, most: int) -> _Portion:
    """The same for what follows batches."""
    rows = session.fetch(_BATCHES, queue, after, most)
    changes: list[Row] = []
    problems: list[str] = []
    for batch, function, payload in rows:
        id = f"{batch}.then"
        seal = functools.partial(_anew_arguments, vault, id, function, payload)
        new = _anew(vault, payload, problems, seal)
        if new is not payload:
            changes.append((queue, batch, new))
    if changes:
        session.update(TASK_BATCH, ("queue_name", "batch_id"), ("payload",), changes)
    return _Portion(rows[-1][0] if rows else None, len(changes), problems)


def _anew_arguments(vault: Vault, id: str, function: str, payload: bytes) -> bytes:
    return vault.seal_arguments(id, function, vault.open_arguments(id, function, payload))
