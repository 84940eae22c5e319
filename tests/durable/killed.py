"""Programs that kill a process of their own at one boundary after the other, and print what came of each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["runs_of"]

ROOT = Path(__file__).parents[2]


def runs_of(program: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run such a program, a module, to its end; what came of each boundary, in their order."""
    command = [sys.executable, "-m", program, str(folder), *arguments]
    # Its log tells of each recovery.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=110, cwd=ROOT
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
