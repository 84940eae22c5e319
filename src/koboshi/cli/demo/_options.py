"""What can be asked of the demo, and what is refused before anything starts."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import click

from ..._kernel._processors import processors

__all__ = ["Options", "command"]


@dataclass(frozen=True, slots=True)
class Options:
    """One run of the demo; durations in seconds.

    Attributes:
        root: the folder whose Python files are the input; None: the one of the run to be resumed.
        store: a file, or the URL of a database; None: a temporary file.
        seconds: passes are repeated until so much time is over; None: one pass.
        kill_every: time between two kills; 0: none.
    """

    root: str | None
    store: str | None
    resume: bool
    workers: int
    kill_every: float
    seconds: float | None
    headless: bool
    json: bool

    @property
    def url(self) -> str | None:
        """The store as a URL."""
        if self.store is None or "://" in self.store:
            return self.store
        return f"sqlite:///{self.store}"

    @property
    def input(self) -> str:
        """The folder to read."""
        return self.root or standard_library()


def standard_library() -> str:
    """Where the running interpreter keeps its standard library."""
    return os.path.realpath(sysconfig.get_path("stdlib"))


@click.command(name="demo")
@click.option("--input", "root", metavar="DIR", help="Python files to read (default: the standard library).")
@click.option(
    "--workers", metavar="N", type=click.IntRange(1, 256), help="Worker processes (default: cores)."
)
@click.option(
    "--kill-every",
    metavar="S",
    type=click.FloatRange(0.0, 86_400.0),
    default=1.0,
    help="Kill a random worker with -9 every S seconds (default 1; 0: never). Much shorter than one file "
    "takes to parse, it keeps that file from ever being done.",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(0.0, 86_400.0),
    help="Repeat passes over the input until S seconds are over (default: one pass).",
)
@click.option(
    "--store",
    metavar="STORE",
    help="Keep everything in a file, or in a database such as postgresql+asyncpg://user@host/name "
    "(default: a temporary file).",
)
@click.option("--resume", is_flag=True, help="Continue the run in STORE that was cut off.")
@click.option("--headless", is_flag=True, help="Print lines instead of the live view.")
@click.option("--json", is_flag=True, help="Print one JSON object at the end, and nothing else.")
def command(
    root: str | None,
    workers: int | None,
    kill_every: float,
    seconds: float | None,
    store: str | None,
    resume: bool,
    headless: bool,
    json: bool,
) -> int:
    """Count the standard library's tokens and definitions while worker processes are killed, lose nothing.

    Ends with a proof; the exit status is 1 when the proof fails.
    """
    for name, value in (("--kill-every", kill_every), ("--seconds", seconds)):
        if value is not None and value != value:  # click's range lets NaN through
            raise click.UsageError(f"{name} takes a number of seconds, got nan")
    if root is not None:
        root = _checked_root(root)
    if resume and store is None:
        raise click.UsageError("--resume needs --store STORE, where the run to continue is kept")
    path = None if store is None else _path(store)
    if resume and path is not None and not os.path.lexists(path):
        raise click.UsageError(f"nothing to resume: there is no file {path!r}")
    options = Options(
        root=root,
        store=store if path is None else os.path.abspath(path),
        resume=resume,
        workers=workers or processors(),
        kill_every=kill_every,
        seconds=seconds,
        headless=headless,
        json=json,
    )
    from ._main import run  # click's help and errors should not wait for the runtime's import

    return run(options)


def _path(store: str) -> str | None:
    """The file that is meant; None: a database on a server."""
    if store.startswith("sqlite:///"):
        return store.removeprefix("sqlite:///")
    return None if "://" in store else store


def _checked_root(root: str) -> str:
    if not root:
        raise click.UsageError("--input '' names no folder; give a folder with Python files, or leave it out")
    path = Path(root)
    if not path.exists():
        raise click.UsageError(f"--input {root!r} does not exist; give a folder with Python files")
    if not path.is_dir():
        raise click.UsageError(f"--input {root!r} is not a folder; give a folder with Python files")
    return os.path.realpath(root)
