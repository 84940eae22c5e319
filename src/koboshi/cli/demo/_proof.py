"""The proof: each pass held against the input, the store and the serial run.

Nothing is taken from the aggregator alone. Lost and twice are counted by job id: what the input asks for,
what the store holds a result or a dead letter for, and what was folded. The digest is compared with the
one of a program that knows none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import koboshi as kb

from ._aggregate import PassTotal, digest, unparsable_hash
from ._source import job_id, pass_of, path_of

__all__ = ["Evidence", "PassProof", "Proof", "SerialRun", "prove_pass", "read_evidence", "serial_run"]


@dataclass(frozen=True, slots=True)
class SerialRun:
    """What the serial run said, or in `failure` why it said nothing."""

    digest: str = ""
    failure: str = ""


@dataclass(slots=True)
class Evidence:
    """What the store holds for one pass: results by job id, and the paths and reasons of dead letters."""

    results: Counter[str] = field(default_factory=Counter)
    dead: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PassProof:
    """How one pass stands. `reasons` gives path and reason of each dead letter, `summary` the totals."""

    number: int
    jobs: int
    done: int
    dead: int
    lost: int
    twice: int
    digest: str
    reasons: tuple[tuple[str, str], ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Proof:
    """All passes together with what happened to the workers."""

    passes: tuple[PassProof, ...]
    files: int
    kills: int
    restarts: int
    serial: SerialRun
    seconds: float
    workers: int

    @property
    def jobs(self) -> int:
        """Jobs in the store."""
        return sum(each.jobs for each in self.passes)

    @property
    def done(self) -> int:
        """Jobs with a result."""
        return sum(each.done for each in self.passes)

    @property
    def dead(self) -> int:
        """Dead letters."""
        return sum(each.dead for each in self.passes)

    @property
    def lost(self) -> int:
        """Jobs that are missing from the store or from the totals."""
        return sum(each.lost for each in self.passes)

    @property
    def twice(self) -> int:
        """Results too many in the store or in the totals."""
        return sum(each.twice for each in self.passes)

    @property
    def digest(self) -> str:
        """The digest of the passes: the first that differs from the serial run, if one does."""
        wrong = (each.digest for each in self.passes if each.digest != self.serial.digest)
        return next(wrong, self.serial.digest if self.passes else "")

    @property
    def faults(self) -> list[str]:
        """What is wrong, one line each."""
        found: list[str] = []
        if self.serial.failure:
            found.append(f"the serial run gave no digest: {self.serial.failure}")
        if not self.passes:
            found.append("no pass was completed")
        if self.restarts != self.kills:
            found.append(f"{self.kills} workers were killed and {self.restarts} restarted")
        for each in self.passes:
            where = f"pass {each.number}"
            if each.jobs != self.files:
                found.append(f"{where}: the store has {each.jobs} jobs for {self.files} files")
            if each.lost:
                found.append(f"{where}: {each.lost} jobs were lost")
            if each.twice:
                found.append(f"{where}: {each.twice} results too many")
            if each.digest != self.serial.digest:
                found.append(
                    f"{where}: its digest is {each.digest}, the serial run's is {self.serial.digest}"
                )
        return found

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def line(self) -> str:
        """The proof in one line."""
        passes = f"{len(self.passes):,} passes of " if len(self.passes) > 1 else ""
        equal = self.digest == self.serial.digest and not self.serial.failure
        return (
            f"{passes}{_count(self.files, 'file')}, {_count(self.kills, 'worker')} killed, "
            f"{_count(self.restarts, 'restart')}, {_count(self.dead, 'dead letter')}, {self.lost:,} lost, "
            f"{self.twice:,} twice, digest {'equals' if equal else 'DIFFERS FROM'} the serial run"
        )

    def json(self) -> str:
        """The proof as one JSON object."""
        return json.dumps(
            {
                "jobs": self.jobs,
                "done": self.done,
                "dead": self.dead,
                "kills": self.kills,
                "restarts": self.restarts,
                "lost": self.lost,
                "duplicated": self.twice,
                "digest": self.digest,
                "serial_digest": self.serial.digest,
                "ok": self.ok,
                "seconds": round(self.seconds, 3),
                "workers": self.workers,
            }
        )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


async def read_evidence(queue: kb.Queue) -> dict[int, Evidence]:
    """All results and dead letters of the queue, by pass."""
    found: dict[int, Evidence] = {}
    async for task in queue.tasks("done"):
        found.setdefault(pass_of(task.id), Evidence()).results[task.id] += 1
    async for task in queue.tasks("dead"):
        reason = (task.report or "").partition("\n")[0]
        found.setdefault(pass_of(task.id), Evidence()).dead[task.id] = (path_of(task.id), reason)
    return found


def prove_pass(number: int, files: Sequence[str], evidence: Evidence, total: PassTotal) -> PassProof:
    """Holds one pass against its input; a pure function."""
    expected = {job_id(number, path) for path in files}
    stored, folded, dead = evidence.results, total.folded, evidence.dead
    complete = {id for id in stored if folded[id]} | dead.keys()
    # A result more than one, whether stored or folded, and one beside a dead letter or without a job.
    twice = sum(max(stored[id], folded[id]) - 1 for id in stored.keys() | folded.keys())
    twice += sum(1 for id in dead if stored[id] or folded[id])
    twice += len((stored.keys() | folded.keys()) - expected)
    hashes = [*total.hashes, *(unparsable_hash(path) for path, _ in dead.values())]
    return PassProof(
        number=number,
        jobs=len(stored.keys() | dead.keys()),
        done=len(stored),
        dead=len(dead),
        lost=len(expected - complete),
        twice=twice,
        digest=digest(hashes),
        reasons=tuple(sorted(dead.values())),
        summary=total.summary(),
    )


@contextlib.asynccontextmanager
async def serial_run(root: str) -> AsyncGenerator[asyncio.Task[SerialRun]]:
    """The serial run in a process of its own beside the demo; it is gone when the block is left."""
    script = str(Path(__file__).with_name("_serial.py"))
    # The open stdin is what it lives by: if this process is killed, it ends too.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        script,
        root,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    task = asyncio.ensure_future(_serial_outcome(process))
    try:
        yield task
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(task, return_exceptions=True)
        assert process.stdin is not None
        process.stdin.close()


async def _serial_outcome(process: asyncio.subprocess.Process) -> SerialRun:
    assert process.stdout is not None
    assert process.stderr is not None
    # Not `communicate`, which would close its stdin.
    out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
    status = await process.wait()
    if status:
        lines = err.decode(errors="replace").strip().splitlines()
        return SerialRun(failure=f"it ended with status {status}: {lines[-1] if lines else 'no message'}")
    return SerialRun(json.loads(out)["digest"])
