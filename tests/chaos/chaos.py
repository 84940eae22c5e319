"""Durable accounts on several hosts and one store, while both are hurt: `./run chaos --help`.

Exit status: 0 when every promise was kept, 1 when one was broken, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.checker import Verdict, check
from tests.chaos.client import Client
from tests.chaos.fleet import Fleet
from tests.chaos.history import History, Kept
from tests.chaos.nemesis import KINDS, Nemesis
from tests.chaos.sites import open_site

__all__ = ["Result", "main", "run"]

HOSTS = 3
ACCOUNTS = 6
# Seconds, so that a run need not wait long for a host that is stopped.
LEASE = 1.0
# Faults of a round.
ROUND = 8


@dataclass
class Result:
    """What is printed."""

    seed: int
    store: str
    seconds: float = 0.0
    rounds: int = 0
    faults: int = 0
    faults_by_kind: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    attempted: int = 0
    acknowledged: int = 0
    unknown: int = 0
    lost_with_image: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    invented: int = 0
    gaps: int = 0
    wrong_sums: int = 0
    stuck: int = 0
    zombie_writes_refused: int = 0
    violations: list[str] = field(default_factory=list)
    ok: bool = True

    def add(self, verdict: Verdict) -> None:
        """Count what the checker found in one round."""
        self.rounds += 1
        for name in ("attempted", "acknowledged", "unknown", "lost_with_image"):
            setattr(self, name, getattr(self, name) + getattr(verdict, name))
        for name, texts in verdict.violations().items():
            setattr(self, name, getattr(self, name) + len(texts))
            self.violations += texts


async def run(
    seed: int,
    seconds: float,
    store: str = "",
    *,
    only: tuple[str, ...] = (),
    bug: str = "",
    each_round: int = ROUND,
) -> Result:
    """Rounds of faults until the time is over, one at least; it ends early with the first violation.

    Args:
        seed: of all choices here. What the machine makes of them differs from run to run.
        only: kinds of faults (default: all that the store can have).
        bug: the mistake that the hosts plant in themselves.
        each_round: faults after which all must come to rest and is checked; then new accounts are opened.
    """
    began = time.monotonic()
    async with open_site(store) as site:
        result = Result(seed, site.url.partition(":")[0])
        async with Fleet(site.url, HOSTS, LEASE, bug) as fleet:
            nemesis = Nemesis(fleet, site, random.Random(seed), LEASE, only)
            await _rounds(result, fleet, nemesis, random.Random(seed), seconds, each_round)
        result.zombie_writes_refused = fleet.events["fenced"]
    result.seconds = round(time.monotonic() - began, 1)
    return result


async def _rounds(
    result: Result, fleet: Fleet, nemesis: Nemesis, chance: random.Random, seconds: float, each_round: int
) -> None:
    until = asyncio.get_running_loop().time() + seconds
    while result.ok and (not result.rounds or asyncio.get_running_loop().time() < until):
        client = Client(fleet, f"r{result.rounds}", ACCOUNTS, random.Random(chance.random()))
        await client.run(nemesis.hurt(client, each_round, until))
        kept = await client.observe()
        result.add(check(client.history, kept))
        if not result.ok or result.violations:
            _tell(client.history, kept, nemesis)
        result.violations += nemesis.violations
        result.ok = not result.violations
    result.faults, result.faults_by_kind = nemesis.faults.total(), dict(sorted(nemesis.faults.items()))
    result.skipped = [kind for kind in KINDS if not nemesis.faults[kind]]


def _tell(history: History, kept: Mapping[str, Kept], nemesis: Nemesis) -> None:
    """What happened in a round that broke a promise, for whoever looks for the cause."""
    if os.environ.get("CHAOS_LOG") != "1":
        return
    for since, until, kind in nemesis.timeline:
        print("fault", since, until, kind, file=sys.stderr)
    print("images", history.restored, file=sys.stderr)
    for name, account in kept.items():
        for each in account.entries:
            asked, _ = history.asked.get(each.id, (0, None))
            replied = history.acknowledged.get(each.id)
            print("entry", name, each, asked, replied, file=sys.stderr)
    for id, (asked, operation) in history.asked.items():
        print("asked", id, asked, operation, history.acknowledged.get(id), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        print(f"chaos: {message}", file=sys.stderr)
        raise SystemExit(2)


def _minutes(text: str) -> float:
    value = float(text)
    if not 0 < value < 100_000:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, got {text}")
    return value


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if not set(kinds) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(KINDS)}, got {text}")
    return kinds


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = _Parser(prog="./run chaos", description="Hurt hosts and store of durable accounts, and check.")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (1)")
    parser.add_argument("--minutes", type=_minutes, default=2.0, help="how long faults go on (2)")
    parser.add_argument(
        "--store",
        default="",
        help="'postgresql' or 'mariadb' for a server that is started and killed, the URL of an empty PostgreSQL "
        "database, or sqlite:/// and a new file (default: a SQLite file on a small disk of its own)",
    )
    parser.add_argument(
        "--only", type=_kinds, default=(), help=f"kinds of faults, of {','.join(KINDS)} (all)"
    )
    parser.add_argument("--json", type=Path, help="also write the result to a file")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Run it and return the exit status."""
    options = arguments(given)
    result = asyncio.run(run(options.seed, options.minutes * 60, options.store, only=options.only))
    text = json.dumps(vars(result))
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
