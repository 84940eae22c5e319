"""What a program writes: always read, so that it never blocks; kept and told within bounds."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable

_READ = 1 << 16
# Bytes of one line that are kept; the rest of it is dropped.
LONGEST_LINE = 2_000
# Bytes read in a row before others have a turn, and at most once the program has ended.
_AT_ONCE = 1 << 20


class Lines:
    """Cuts one stream into lines, each of bounded length."""

    def __init__(self) -> None:
        self._begun = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        *whole, rest = data.split(b"\n")
        lines: list[str] = []
        for part in whole:
            lines.append(self._line(part))
            self._begun, self._cut = b"", False
        if not self._cut:
            self._begun += rest
            if len(self._begun) > LONGEST_LINE:
                self._begun, self._cut = self._begun[:LONGEST_LINE], True
        return lines

    def rest(self) -> list[str]:
        """The last line, if no newline came after it."""
        rest, self._begun = self._begun, b""
        return [rest.decode(errors="replace").rstrip("\r")] if rest else []

    def _line(self, part: bytes) -> str:
        whole = self._begun if self._cut else self._begun + part
        cut = self._cut or len(whole) > LONGEST_LINE
        text = whole[:LONGEST_LINE].decode(errors="replace").rstrip("\r")
        return f"{text}..." if cut else text


class Rate:
    """At most so many in each second; the clock is passed in."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._since = float("-inf")
        self._count = 0
        self.refused = 0

    def allow(self, now: float) -> bool:
        """Whether there is room for one more."""
        if now - self._since >= 1.0:
            self._since, self._count = now, 0
        self._count += 1
        if self._count <= self._most:
            return True
        self.refused += 1
        return False


class Output:
    """Both streams of a program.

    Args:
        keep: how many of the last lines are kept.
        on_line: told of each line with its stream's name.
    """

    def __init__(self, keep: int, on_line: Callable[[str, str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=keep)
        self.lines = self.bytes = 0
        self._on_line = on_line
        self._streams: dict[int, tuple[str, Lines]] = {}

    def open(self, fd: int, stream: str) -> None:
        """Begin with a stream; `fd` does not block."""
        self._streams[fd] = (stream, Lines())

    def read(self, fd: int) -> bool:
        """Read what there is; False at the end of the stream."""
        stream, lines = self._streams[fd]
        taken = 0
        while taken < _AT_ONCE:
            try:
                data = os.read(fd, _READ)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                self._take(stream, lines.rest())
                return False
            taken += len(data)
            self.bytes += len(data)
            self._take(stream, lines.feed(data))
        return True

    def finish(self) -> None:
        """Read what lies in the pipes of a program that has ended.

        Not to their end: whoever has inherited them may hold them open for ever.
        """
        for fd, (stream, lines) in self._streams.items():
            if self.read(fd):
                self._take(stream, lines.rest())

    def _take(self, stream: str, lines: list[str]) -> None:
        for line in lines:
            self.lines += 1
            self.tail.append(line)
            self._on_line(stream, line)


Line = str | re.Pattern[str]


def matches(wanted: Line, line: str) -> bool:
    """Whether a line has what is wanted in it: a text, or what a pattern finds."""
    return wanted in line if isinstance(wanted, str) else wanted.search(line) is not None
