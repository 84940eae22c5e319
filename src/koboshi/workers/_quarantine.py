"""What is known of a job that is put aside because it killed its workers."""

from __future__ import annotations

from hashlib import sha256

from ..wire._pickle import dumps
from ._batch import Batch
from ._errors import Dossier

__all__ = ["dossier"]


def dossier(job: Batch) -> Dossier:
    """The dossier of a batch of one, from its packed arguments and the ends of its workers."""
    entry = job.entries[0]
    packed = entry if isinstance(entry, bytes) else dumps(entry)
    return Dossier(job.function.name, sha256(packed).hexdigest(), len(packed), job.kills)
