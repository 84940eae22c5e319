"""What the demo shows while it runs: a live view in a terminal, lines anywhere else, or nothing."""

from __future__ import annotations

import shutil
import sys
from typing import Protocol, TextIO

from ._tree import Snapshot

__all__ = ["Lines", "Live", "Silent", "View"]

_HIDE, _SHOW, _UP, _CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[{}F", "\x1b[K"
_BOLD, _DIM, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class View(Protocol):
    """Shows snapshots and notes."""

    #: Seconds between two snapshots.
    every: float

    def show(self, snapshot: Snapshot) -> None:
        """The state now."""
        ...

    def note(self, text: str) -> None:
        """Something that is to stay."""
        ...

    def close(self) -> None:
        """Nothing more will be shown."""
        ...


class Silent:
    """Shows nothing, for `--json`."""

    every = 1.0

    def show(self, snapshot: Snapshot) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """One line a second."""

    every = 1.0

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._last_crash = ""

    def show(self, snapshot: Snapshot) -> None:
        workers = " ".join(f"{each.slot}:{each.pid or 'starting'}" for each in snapshot.workers)
        self.note(
            f"{snapshot.seconds:6.1f} s  {_progress(snapshot)}  {snapshot.rate:,.0f}/s  "
            f"{snapshot.dead} dead  {snapshot.kills} killed  {snapshot.restarts} restarted  {workers}"
        )
        if snapshot.crashes and snapshot.crashes[-1] != self._last_crash:
            self._last_crash = snapshot.crashes[-1]
            self.note(f"          last crash {self._last_crash}")

    def note(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        pass


class Live:
    """A few lines in the terminal that are drawn over four times a second."""

    every = 0.25

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._drawn = 0
        self._out.write(_HIDE)

    def show(self, snapshot: Snapshot) -> None:
        self._draw(render(snapshot, shutil.get_terminal_size().columns))

    def note(self, text: str) -> None:
        self._draw([])
        self._out.write(text + "\n")
        self._out.flush()

    def close(self) -> None:
        """The last picture stays; the cursor comes back."""
        self._out.write(_SHOW)
        self._out.flush()

    def _draw(self, lines: list[str]) -> None:
        up = _UP.format(self._drawn) if self._drawn else ""
        # What was drawn before may have had more lines.
        blank = max(0, self._drawn - len(lines))
        text = "".join(f"{line}{_CLEAR}\n" for line in lines + [""] * blank)
        self._out.write(up + text + (_UP.format(blank) if blank else ""))
        self._out.flush()
        self._drawn = len(lines)


def render(snapshot: Snapshot, columns: int) -> list[str]:
    """The live view as lines, none wider than `columns`."""
    settled = max(0, snapshot.settled - snapshot.files * (snapshot.passes - 1))
    width = max(10, min(40, columns - 40))
    filled = width * settled // snapshot.files
    bar = f"{_GREEN}{'█' * filled}{_DIM}{'░' * (width - filled)}{_PLAIN}"
    kills = f"{snapshot.kills} killed, {snapshot.restarts} restarted"
    lines = [
        _cut(f"koboshi demo   {snapshot.seconds:5.1f} s   {_progress(snapshot)}", columns, _BOLD),
        f"  {bar}  {snapshot.rate:,.0f} files/s",
        _cut(f"  pool   {kills}", columns),
    ]
    for worker in snapshot.workers:
        state = "starting" if worker.pid is None else "busy" if worker.busy else "idle"
        text = (
            f"   {worker.slot:<4} pid {worker.pid or '-':<8} {state:<9} "
            f"{worker.restarts:>4} restarts  {worker.done:>7,} jobs"
        )
        lines.append(_cut(text, columns, _RED if worker.pid is None else ""))
    dead = snapshot.dead
    lines.append(_cut(f"  last crashes   ({dead} dead letter{'' if dead == 1 else 's'})", columns))
    lines.extend(_cut(f"   {crash}", columns, _DIM) for crash in snapshot.crashes)
    return lines


def _cut(text: str, columns: int, style: str = "") -> str:
    """At most one line's worth of the text, without control characters of others."""
    plain = "".join(c if c.isprintable() else "?" for c in text)
    short = plain if len(plain) <= columns else plain[: columns - 1] + "…"
    return f"{style}{short}{_PLAIN}" if style else short


def _progress(snapshot: Snapshot) -> str:
    number = f"pass {snapshot.passes}, " if snapshot.passes > 1 else ""
    return f"{number}{snapshot.settled:,}/{snapshot.files * snapshot.passes:,} files"
