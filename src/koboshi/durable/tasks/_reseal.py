"""Sealing the rows of a queue anew, while its tasks go on."""

from __future__ import annotations

from ..stores import Row, Select, Session, Store
from ..stores._tables import TASK, TASK_BATCH
from ._vault import Vault

__all__ = ["reseal"]

_TASKS = Select(
    "SELECT task_id, state, token, function_name, payload, result, report FROM kb_task "
    "WHERE queue_name = :queue AND task_id > :after ORDER BY task_id LIMIT :most"
)
_BATCHES = Select(
    "SELECT batch_id, function_name, payload FROM kb_task_batch "
    "WHERE queue_name = :queue AND batch_id > :after ORDER BY batch_id LIMIT :most"
)


async def reseal(store: Store, queue: str, vault: Vault, portion: int) -> int:
    """Seal all rows of a queue with the current key; how many there are."""
    sealed = 0
    for change in (_reseal_tasks, _reseal_batches):
        after: str | None = ""
        while after is not None:
            before = after
            after, count = await store.change(
                lambda session, change=change, before=before: change(session, queue, vault, before, portion)  # type: ignore[misc]
            )
            sealed += count
    return sealed


def _reseal_tasks(
    session: Session, queue: str, vault: Vault, after: str, most: int
) -> tuple[str | None, int]:
    """The last id that is sealed, None if there are no more, and how many are new among those."""
    rows = session.fetch(_TASKS, queue, after, most)
    changes = [_resealed(queue, vault, row) for row in rows]
    # A task that has gone on since it was read is written by somebody else: then it is not changed, and read again.
    match = ("queue_name", "task_id", "state", "token")
    done = session.update(TASK, match, ("payload", "result", "report"), changes) if changes else 0
    if done < len(rows):
        return after, 0
    return (rows[-1][0] if rows else None), done


def _resealed(queue: str, vault: Vault, row: Row) -> Row:
    id, state, token, function, payload, result, report = row
    return (
        *(queue, id, state, token),
        vault.seal_arguments(id, function, vault.open_arguments(id, function, payload)),
        vault.seal_result(id, vault.open_result(id, result)),
        vault.seal_report(id, vault.open_report(id, report)),
    )


def _reseal_batches(
    session: Session, queue: str, vault: Vault, after: str, most: int
) -> tuple[str | None, int]:
    """The same for what follows batches."""
    rows = session.fetch(_BATCHES, queue, after, most)
    changes: list[Row] = []
    for batch, function, payload in rows:
        if payload is not None:
            id = f"{batch}.then"
            arguments = vault.open_arguments(id, function, payload)
            changes.append((queue, batch, vault.seal_arguments(id, function, arguments)))
    if changes:
        session.update(TASK_BATCH, ("queue_name", "batch_id"), ("payload",), changes)
    return (rows[-1][0] if rows else None), len(changes)
