"""Runs the sides of a row against each other, each time in fresh processes.

The sides take turns within a row: first every side once, then every side again, and so on,
so that a slow moment of the machine falls on all of them. A side's figure is the median of
its rounds, and with several variants the best of their medians.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from row import Row
from sides.catalogue import Side

HERE = Path(__file__).resolve().parent

LONGEST_SECONDS = 60.0
"""A side that takes longer for one round of one row is stopped and has failed."""


class SideFailed(Exception):
    """A side gave no figure, or a wrong result."""


@dataclass(frozen=True)
class Scale:
    """How much to measure: seconds a round, rounds, and a factor on every row's size."""

    seconds: float
    rounds: int
    size: float = 1.0


@dataclass
class RowResult:
    """What a row gave: every side is in exactly one of the three mappings."""

    row: Row
    figures: dict[str, float] = field(default_factory=dict)
    # side -> the variant whose figure counts
    variants: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    # side -> variant -> the figure of each round
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)


def run_row(row: Row, sides: Mapping[str, Side], scale: Scale) -> RowResult:
    """Measure a row on each of its sides; a side that fails does not stop the others."""
    result = RowResult(row)
    for name in row.sides:
        side = sides[name]
        if side.absent is not None:
            result.skipped[name] = side.absent
        elif side.broken is not None:
            result.failed[name] = side.broken
        else:
            result.rounds[name] = {variant: [] for variant in side.variants}
    for _ in range(scale.rounds):
        for name in list(result.rounds):
            try:
                _run_round(row, sides[name], scale, result.rounds[name])
            except SideFailed as error:
                result.failed[name] = str(error)
                del result.rounds[name]
    for name, variants in result.rounds.items():
        medians = {variant: statistics.median(figures) for variant, figures in variants.items()}
        result.figures[name] = row.better(list(medians.values()))
        result.variants[name] = next(v for v, f in medians.items() if f == result.figures[name])
    return result


def _run_round(row: Row, side: Side, scale: Scale, rounds: dict[str, list[float]]) -> None:
    size = row.size_for(side.name, scale.size)
    seconds = 0.0 if row.once else scale.seconds
    for variant, command in side.variants.items():
        answer = _run_process((*command, row.name, str(size), str(seconds)))
        rounds[variant].append(_checked_figure(answer, row.checksum(size)))


def _checked_figure(answer: str, expected: int) -> float:
    try:
        result = json.loads(answer)
        figure, checksum = result["figure"], result["checksum"]
    except (ValueError, TypeError, KeyError):
        raise SideFailed(f"expected a line of JSON with figure and checksum, got {answer!r}") from None
    if checksum != expected:
        raise SideFailed(f"wrong result: expected the checksum {expected}, got {checksum}")
    if not figure > 0:
        raise SideFailed(f"expected a figure above 0, got {figure!r}")
    return float(figure)


def _run_process(command: tuple[str, ...]) -> str:
    """The last line that the command prints.

    It gets a process group and a directory for temporary files of its own, so that whatever it
    started or wrote can be ended and removed with it, also when it is stopped half-way.
    """
    with TemporaryDirectory(prefix="koboshi-bench-") as scratch:
        # The user of a database server must get in.
        os.chmod(scratch, 0o755)
        process = subprocess.Popen(
            command,
            cwd=HERE,
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise SideFailed(f"gave no answer within {LONGEST_SECONDS:.0f} s") from None
        finally:
            _end(process)
    if process.returncode != 0:
        raise SideFailed(_last_line(err) or f"exit status {process.returncode}, and no reason")
    return _last_line(out)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the usual case: the side has ended, and everything that it started too
    process.communicate()


def _environment(scratch: str) -> dict[str, str]:
    """With this directory first on the path, for the processes of the pools too; then that of the tests' servers."""
    path = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path)), "TMPDIR": scratch}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
