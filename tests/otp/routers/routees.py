"""Actors behind the routers of these tests, importable by worker nodes."""

from __future__ import annotations

import os
from typing import Any

import koboshi as kb


class Worker(kb.Actor):
    """Says who it is, and answers `hold` when it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Any] = []
        self.held: list[kb.ReplyTo[str]] = []

    @kb.message
    def who(self, _key: Any = None) -> str:
        return self.name

    @kb.message
    def note(self, what: Any) -> None:
        self.got.append(what)

    @kb.message
    def noted(self) -> list[Any]:
        return self.got

    @kb.message
    def hold(self, _key: Any = None) -> str:
        self.got.append("hold")
        self.held.append(kb.defer())
        return ""

    @kb.message
    def let_go(self) -> None:
        for reply in self.held:
            reply.send(self.name)
        self.held.clear()

    @kb.message
    def crash(self) -> None:
        self.got.append("crash")
        raise ValueError(self.name)

    @kb.message
    def deny(self) -> None:
        """Fails as if it had asked somebody who is not there."""
        self.got.append("deny")
        kb.defer().fail(kb.NotRunning("somebody else", "Other.ask"))

    @kb.message
    def pid(self) -> int:
        return os.getpid()


class Other(kb.Actor):
    @kb.message
    def ping(self) -> int:
        return 1
