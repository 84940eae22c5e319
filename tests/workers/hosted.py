"""Actors that the tests put into worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import koboshi as kb


class Thumbnailer(kb.Actor):
    """Counts what it makes, so that a fresh one is known by its count."""

    def __init__(self, size: int = 8, mark: str = "") -> None:
        if mark:
            with open(mark, "a") as file:
                file.write(f"{os.getpid()}\n")
        self.size = size
        self.made = 0

    @kb.message
    def make(self, image: bytes) -> bytes:
        if not image:
            raise ValueError("no image")
        self.made += 1
        return image[: self.size]

    @kb.message
    async def slow_make(self, image: bytes, *, pauses: int = 1) -> int:
        for _ in range(pauses):
            await asyncio.sleep(0)
        self.made += 1
        return self.made

    @kb.message
    def where(self) -> tuple[int, int]:
        """Our process, and how much this instance has made."""
        return os.getpid(), self.made

    @kb.message
    def hold(self, announce: str, release: str) -> int:
        with open(announce, "w") as pipe:
            pipe.write(f"{os.getpid()}\n")
        with open(release) as pipe:
            pipe.read()
        return os.getpid()

    @kb.message
    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @kb.message
    def finish(self) -> str:
        self.stop()
        return "finished"

    @kb.message
    def unpicklable(self) -> object:
        return threading.Lock()

    @kb.message
    def refuse(self) -> int:
        kb.defer().fail(LookupError("refused, not crashed"))
        return 0


class BetterThumbnailer(Thumbnailer):
    """Overrides a message."""

    @kb.message
    def make(self, image: bytes) -> bytes:
        return b"better " + super().make(image)


class Announcing(kb.Actor):
    """Tells of its orderly end through a file."""

    def __init__(self, mark: str) -> None:
        self.mark = Path(mark)

    def on_stop(self, reason: kb.ExitReason) -> None:
        self.mark.write_text(repr(reason))

    @kb.message
    def ping(self) -> str:
        return "pong"


class Broken(kb.Actor):
    """Cannot be made in a worker."""

    def __init__(self, parent: int) -> None:
        if os.getpid() != parent:
            raise ConnectionRefusedError("no camera in this process")


class UpOnce(kb.Actor):
    """Comes up in one process and in no other."""

    def __init__(self, mark: str) -> None:
        try:
            with open(mark, "x"):
                pass
        except FileExistsError:
            raise ConnectionRefusedError("up once only") from None

    @kb.message
    def ping(self) -> str:
        return "pong"

    @kb.message
    def hold(self, announce: str, release: str) -> int:
        with open(announce, "w") as pipe:
            pipe.write(f"{os.getpid()}\n")
        with open(release) as pipe:
            pipe.read()
        return os.getpid()


class StoppedAtFirst(kb.Actor):
    """Its process is stopped by somebody while it is made."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    @kb.message
    def ping(self) -> str:
        return "pong"


class Journalist(kb.Actor):
    """Counts its notes by topic."""

    def __init__(self) -> None:
        self.notes: dict[str, int] = {}

    @kb.message
    def note(self, number: int, *, topic: str) -> int:
        self.notes[topic] = self.notes.get(topic, 0) + 1
        return self.notes[topic]
