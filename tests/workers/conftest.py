"""Worker processes import the jobs of these tests by name, so they must be importable there; and how they tell."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])

if ROOT not in sys.path:
    sys.path.append(ROOT)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe, into which a worker writes a line."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path
