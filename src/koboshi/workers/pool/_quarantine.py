"""The error of a job that its worker died with, and what is known of one that killed several."""

from __future__ import annotations

from hashlib import sha256

from ...wire._pickle import dumps
from .._errors import Dossier, JobTimeout, Quarantined, WorkerCrashed
from .._exit import WorkerExit
from ._batch import Batch

__all__ = ["dossier", "verdict"]


def dossier(job: Batch) -> Dossier:
    """The dossier of a batch of one, from its packed arguments and the ends of its workers."""
    entry = job.entries[0]
    packed = entry if isinstance(entry, bytes) else dumps(entry)
    return Dossier(job.function.name, sha256(packed).hexdigest(), len(packed), job.kills)


def verdict(
    hit: Batch, exit: WorkerExit, worker: str, quarantine: int, timeout: float | None
) -> WorkerCrashed:
    """The error of a job, a batch of one, that a worker died with and that is not started again.

    Args:
        quarantine: workers that a job may kill.
        timeout: seconds that it was granted, if the worker was killed because it took longer.
    """
    name = hit.function.name
    if timeout is not None:
        return JobTimeout(name, exit, timeout, worker=worker)
    if hit.entries and len(hit.kills) >= quarantine:
        return Quarantined(dossier(hit), worker=worker)
    return WorkerCrashed(name, exit, worker=worker)
