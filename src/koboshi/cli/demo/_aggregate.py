"""The totals that the demo's aggregator keeps, one set for each pass over the input."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from koboshi.durable import Result

from ._source import pass_of

__all__ = ["PassTotal", "Totals", "digest", "fold", "unparsable_hash"]

# Modules that are named in a summary.
_TOP = 6


@dataclass(slots=True)
class PassTotal:
    """What one pass came to so far.

    Attributes:
        folded: how often each job's result was folded in; anything but 1 is a fault.
        hashes: one for each result folded in. The digest is made of them, sorted.
        importers: for each module, how many files import it.
    """

    folded: Counter[str] = field(default_factory=Counter)
    hashes: list[bytes] = field(default_factory=list)
    lines: int = 0
    tokens: int = 0
    definitions: int = 0
    importers: Counter[str] = field(default_factory=Counter)

    def add(self, result: Result[str]) -> None:
        """Count one file."""
        found = json.loads(result.value)
        names = ("path", "sha256", "lines", "tokens", "definitions", "imports")
        self.hashes.append(_hash([found[name] for name in names]))
        self.folded[result.id] += 1
        self.lines += found["lines"]
        self.tokens += found["tokens"]
        self.definitions += found["definitions"]
        self.importers.update(name for name in found["imports"] if not name.startswith("."))

    def summary(self) -> str:
        """The totals and the most imported modules in one line."""
        most = ", ".join(f"{name} {count:,}" for name, count in self.importers.most_common(_TOP))
        return (
            f"{self.lines:,} lines, {self.tokens:,} tokens, {self.definitions:,} definitions; "
            f"imported by most files: {most or 'nothing'}"
        )


Totals = dict[int, PassTotal]


def fold(totals: Totals, result: Result[str]) -> Totals:
    """Adds one result to the totals of its pass."""
    totals.setdefault(pass_of(result.id), PassTotal()).add(result)
    return totals


def unparsable_hash(path: str) -> bytes:
    """Stands for a file without counts."""
    return _hash([path, None])


def digest(hashes: Iterable[bytes]) -> str:
    """One value for a pass, whatever order its files ended in."""
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest()


def _hash(entry: list[object]) -> bytes:
    return hashlib.sha256(json.dumps(entry).encode()).digest()
