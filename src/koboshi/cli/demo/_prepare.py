"""What is settled before anything runs: the input, and whether the store may be used for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

import koboshi as kb

from ._options import Options
from ._source import find_files, fingerprint, job_id
from ._tree import QUEUE
from ._work import measure

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "Plan", "Refusal", "prepare"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130


class Input(msgspec.Struct, frozen=True):
    """What a run reads: its folder, and what tells whether the files are the same."""

    root: str = ""
    files: str = ""


class Manifest(kb.DurableActor[Input]):
    """Remembers the input of the run that a store holds, for `--resume`."""

    @kb.message
    def begin(self, given: Input) -> Input:
        """The run's input: the one that was given first."""
        if not self.state.root:
            self.state = given
        return self.state

    @kb.query
    def input(self) -> Input:
        """The run's input; without a folder, none was begun."""
        return self.state


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
        settled: jobs that an earlier run had ended.
    """

    root: str
    files: Sequence[str]
    begun: int
    settled: int


async def prepare(options: Options, store: str) -> Plan:
    """Reads the input and opens the store once, to write or to read what its input is.

    Raises:
        Refusal: the input or the store cannot be used.
    """
    # Before the store is opened, so that a wrong folder leaves no file behind.
    files = None if options.resume else _files(options.input)
    plan: Plan | None = None
    try:
        queue = kb.Queue(QUEUE, store=store, keep_results=None)
        manifests = kb.durable(Manifest, store=store)
        async with kb.Supervisor(queue.producer(), manifests.child()):
            manifest = manifests["demo"]
            given = await manifest.call(Manifest.input)
            if options.resume:
                plan = await _resumed(options, queue, manifest, given)
            elif given.root:
                raise Refusal(
                    f"{options.store!r} holds the jobs of an earlier run; add --resume, or give another store",
                    USAGE,
                )
            else:
                assert files is not None
                plan = await _fresh(manifest, options.input, files)
    except kb.UsageError as error:
        raise Refusal(f"--store: {error}", USAGE) from error
    except kb.StartError as error:
        cause = error.__cause__
        if not isinstance(cause, kb.DurableError):
            raise
        raise Refusal(str(cause), USAGE if isinstance(cause, kb.StoreUnusable) else FAILED) from error
    except kb.DurableError as error:
        raise Refusal(str(error)) from error
    assert plan is not None
    return plan


def _files(root: str) -> list[str]:
    try:
        files = find_files(root)
    except OSError as error:
        raise Refusal(f"--input {root!r} cannot be read: {error.strerror}") from error
    if not files:
        raise Refusal(f"--input {root!r} has no Python files (*.py) in it or below it", USAGE)
    return files


async def _fresh(manifest: kb.DurableRef[Manifest], root: str, files: Sequence[str]) -> Plan:
    await manifest.call(Manifest.begin, Input(root, fingerprint(files)))
    return Plan(root, files, 0, 0)


async def _resumed(
    options: Options, queue: kb.Queue, manifest: kb.DurableRef[Manifest], given: Input
) -> Plan:
    if not given.root:
        # Cut off before it had said what its input is: nothing was done, so this is the beginning.
        return await _fresh(manifest, options.input, _files(options.input))
    root = given.root
    if options.root is not None and options.root != root:
        raise Refusal(
            f"{options.store!r} is of a run over {root!r}; leave --input out, or give that folder", USAGE
        )
    files = _files(root)
    if fingerprint(files) != given.files:
        raise Refusal(
            f"{root!r} has other files than when {options.store!r} was begun; start again with a new --store"
        )
    begun = 0
    while await queue.job(measure, job_id(begun + 1, files[0])).info() is not None:
        begun += 1
    counts = await queue.statistics()
    return Plan(root, files, begun, counts.done + counts.dead)
