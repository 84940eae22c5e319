"""The input: which files there are, and the jobs that the source gives for each pass over them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Sequence

__all__ = ["Passes", "find_files", "fingerprint", "job_id", "pass_of", "path_of"]

# Installed packages and caches are not the interpreter's own.
_SKIPPED = {"site-packages", "dist-packages", "__pycache__"}


def find_files(root: str) -> list[str]:
    """The Python files below `root`, as sorted relative paths. Links to folders are not followed.

    Raises:
        OSError: `root` itself cannot be read.
    """
    found: list[str] = []
    os.listdir(root)  # os.walk is silent about a folder that cannot be read
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and _is_file(path):
                found.append(os.path.relpath(path, root))
    return sorted(found)


def _is_file(path: str) -> bool:
    """Whether there is a regular file: opening a pipe would wait for ever."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def fingerprint(files: Sequence[str]) -> str:
    """Tells whether a resumed run has the same files before it."""
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def job_id(number: int, path: str) -> str:
    """The id of the job for one file in pass `number`.

    A file name need not be valid text. Then, and when the name could be taken for that case, it is quoted.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{number}/{json.dumps(path)}"
    return f"{number}/{json.dumps(path) if path.startswith(chr(34)) else path}"


def pass_of(id: str) -> int:
    """Which pass a job belongs to."""
    return int(id.partition("/")[0])


def path_of(id: str) -> str:
    """Which file a job is for."""
    path = id.partition("/")[2]
    return str(json.loads(path)) if path.startswith('"') else path


class Passes:
    """How many passes were begun. The source gives the jobs of all of them, in order, then waits."""

    def __init__(self, root: str, files: Sequence[str], begun: int) -> None:
        self._root = root
        self._files = files
        self.begun = begun
        self._over = False
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Let the source go on to one more pass."""
        self.begun += 1
        self._changed.set()

    def end(self) -> None:
        """There will be no further pass: the source ends."""
        self._over = True
        self._changed.set()

    async def source(self) -> AsyncIterator[tuple[str, str]]:
        """The jobs, from the first one of the first pass."""
        number = 1
        while await self._wait_begun(number):
            for path in self._files:
                yield job_id(number, path), json.dumps({"root": self._root, "path": path})
            number += 1

    async def _wait_begun(self, number: int) -> bool:
        while number > self.begun:
            if self._over:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True
