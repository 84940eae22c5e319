"""Measures koboshi and its peers side by side: `./run bench --help`.

Exit status: 0 when every side that this machine can run gave a right result, 1 when one
failed, 2 for a wrong argument. Whether the goals are reached is shown, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from machine import machine
from report import document, row_lines
from row import Row
from rows import ROWS
from runs import RowResult, Scale, run_row
from sides.catalogue import APART, install, open_sides

QUICK_SECONDS = 0.05
QUICK_SIZE = 0.1


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"bench: {message}", file=sys.stderr)
        raise SystemExit(2)


def _rows(text: str) -> list[Row]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"unknown row {name!r}, expected any of {','.join(ROWS)}")
    return [ROWS[name] for name in dict.fromkeys(names)]


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 30:
        raise argparse.ArgumentTypeError(f"expected seconds above 0 and up to 30, got {text}")
    return value


def _rounds(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value


def _json_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in an existing directory, got {text}")
    return path


def _parser() -> _Parser:
    parser = _Parser(prog="bench", description="Measure koboshi and its peers side by side.")
    parser.add_argument(
        "--rows", type=_rows, default=list(ROWS.values()), metavar="A,B",
        help=f"the rows to measure, of {','.join(ROWS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", type=_json_file, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--seconds", type=_positive, help="seconds for each side, row and round (default: 0.4)"
    )
    parser.add_argument(
        "--repeat", type=_rounds, metavar="N", help="rounds, of which the median counts (default: 3)"
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="a tenth of the work and one round: shows that it works, not how fast",
    )  # fmt: skip
    parser.add_argument(
        "--install",
        action="store_true",
        help=f"first install {', '.join(APART.values())} where it is missing",
    )
    return parser


def _scale(arguments: argparse.Namespace) -> Scale:
    if arguments.quick:
        return Scale(arguments.seconds or QUICK_SECONDS, arguments.repeat or 1, QUICK_SIZE)
    return Scale(arguments.seconds or 0.4, arguments.repeat or 3)


def _measure(rows: Sequence[Row], scale: Scale) -> list[RowResult]:
    results: list[RowResult] = []
    with open_sides({side for row in rows for side in row.sides}) as sides:
        for row in rows:
            result = run_row(row, sides, scale)
            print("\n".join(row_lines(result)), end="\n\n", flush=True)
            results.append(result)
    return results


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, show, and write; the exit status."""
    arguments = _parser().parse_args(argv)
    rows: list[Row] = arguments.rows
    if arguments.install:
        install({side for row in rows for side in row.sides})
    facts = machine(otp=any("otp" in row.sides for row in rows))
    print(", ".join(f"{name} {fact}" for name, fact in facts.items()), end="\n\n", flush=True)
    results = _measure(rows, _scale(arguments))
    if arguments.json is not None:
        written = json.dumps(document(results, facts), indent=2)
        arguments.json.write_text(written + "\n", encoding="utf-8")
    return 1 if any(result.failed for result in results) else 0


if __name__ == "__main__":
    # A terminated run ends the sides that it started, as an interrupted one does.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
