"""What is settled before anything runs: the input, and whether the ledger may be used for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from koboshi.durable import JobState, Ledger, LedgerError, LedgerUnusable

from ._options import Options
from ._source import find_files, fingerprint, job_id

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "Plan", "Refusal", "prepare"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

# The first job of each ledger is not a file: its result says what the input is, for `--resume`.
_MANIFEST = "input"


class Refusal(Exception):
    """The demo cannot start; the text is the one line that says why."""

    def __init__(self, text: str, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be run.

    Attributes:
        root: the folder that is read.
        files: its Python files.
        begun: passes that an earlier run had begun.
        settled: jobs that an earlier run had ended, the manifest included.
    """

    root: str
    files: Sequence[str]
    begun: int
    settled: int


async def prepare(options: Options, store: str) -> Plan:
    """Reads the input and opens the ledger once, to write or to read what its input is.

    Raises:
        Refusal: the input or the ledger cannot be used.
    """
    # Before the ledger is opened, so that a wrong folder leaves no file behind.
    files = None if options.resume else _files(options.input)
    try:
        async with Ledger(store) as ledger:
            if options.resume:
                return await _resumed(ledger, options, store)
            assert files is not None
            if (await ledger.counts()).total:
                raise Refusal(
                    f"{store!r} holds the jobs of an earlier run; add --resume, or give another path",
                    USAGE,
                )
            return await _fresh(ledger, options.input, files)
    except LedgerError as error:
        raise Refusal(str(error), USAGE if isinstance(error, LedgerUnusable) else FAILED) from error


def _files(root: str) -> list[str]:
    try:
        files = find_files(root)
    except OSError as error:
        raise Refusal(f"--input {root!r} cannot be read: {error.strerror}") from error
    if not files:
        raise Refusal(f"--input {root!r} has no Python files (*.py) in it or below it", USAGE)
    return files


async def _fresh(ledger: Ledger, root: str, files: Sequence[str]) -> Plan:
    await ledger.put(_MANIFEST, b"{}")
    # An earlier run may have been cut off between these lines.
    await ledger.reclaim(refund=True)
    claims = await ledger.claim("koboshi demo")
    manifest = {"root": root, "files": fingerprint(files)}
    await ledger.acknowledge_many([(claim, json.dumps(manifest).encode()) for claim in claims])
    return Plan(root, files, 0, 1)


async def _resumed(ledger: Ledger, options: Options, store: str) -> Plan:
    counts = await ledger.counts()
    job = await ledger.job(_MANIFEST)
    if job is None and counts.total:
        raise Refusal(
            f"{store!r} is a ledger of something else, not of a demo; give the demo's --store file", USAGE
        )
    if job is None or job.state is not JobState.DONE or job.value is None:
        # Cut off before it had said what its input is: nothing was done, so this is the beginning.
        return await _fresh(ledger, options.input, _files(options.input))
    manifest = json.loads(job.value)
    root = str(manifest["root"])
    if options.root is not None and options.root != root:
        raise Refusal(f"{store!r} is of a run over {root!r}; leave --input out, or give that folder", USAGE)
    files = _files(root)
    if fingerprint(files) != manifest["files"]:
        raise Refusal(
            f"{root!r} has other files than when {store!r} was begun; start again with a new --store"
        )
    begun = 0
    while await ledger.job(job_id(begun + 1, files[0])) is not None:
        begun += 1
    return Plan(root, files, begun, counts.done + counts.dead)
