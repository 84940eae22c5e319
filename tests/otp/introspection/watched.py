"""Actors and functions of these tests, importable by worker nodes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import koboshi as kb
from koboshi import otp


class Till(kb.Actor):
    """Counts money and has a secret."""

    version = 7

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self.secret = "1234"
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.replies: list[kb.ReplyTo[Any]] = []

    @kb.message
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @kb.message
    async def add_slowly(self, amount: int, *, times: int = 1) -> int:
        self.entered.set()
        await self.gate.wait()
        self.total += amount * times
        return self.total

    @kb.message
    def open_gate(self) -> None:
        self.gate.set()

    @kb.message
    def later(self) -> None:
        self.replies.append(kb.defer())

    @kb.message
    def pass_on(self, other: kb.ActorRef[Till], amount: int) -> int:
        return other.forward(Till.add, amount)

    @kb.message
    def fail(self) -> None:
        raise ValueError("no change")

    @kb.message
    def remember(self, what: Any) -> None:
        self.seen.append(what)

    @kb.message
    def idle_soon(self, seconds: float) -> None:
        self.set_idle_timeout(seconds)

    @kb.message
    def go_on(self, value: Any) -> None:
        self.continue_with(value)

    @kb.message
    def watch(self, ref: kb.ActorRef[Any]) -> None:
        self.trap_exits()
        kb.link(ref)
        kb.monitor(ref)

    def on_continue(self, value: Any) -> None:
        self.seen.append(value)

    def on_idle(self) -> None:
        self.seen.append("idle")
        self.set_idle_timeout(None)

    def on_info(self, message: Any) -> None:
        self.seen.append(message)

    def format_status(self) -> object:
        return {"total": self.total, "secret": "***"}


class Slotted(kb.Actor):
    """Keeps part of its state in slots."""

    __slots__ = ("one", "two")

    def __init__(self) -> None:
        self.one = 1
        self.three = 3

    @kb.message
    def sum(self) -> int:
        return self.one + self.three


class Unprintable(kb.Actor):
    """Has a format_status that fails."""

    def format_status(self) -> object:
        raise RuntimeError("not now")

    @kb.message
    def echo(self, what: Any) -> Any:
        return what


class Locked(kb.Actor):
    """Has a state that no other process can have."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @kb.message
    def ping(self) -> str:
        return "pong"


class Listener(kb.Actor):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.waiting: list[tuple[int, kb.ReplyTo[list[Any]]]] = []

    def on_info(self, message: Any) -> None:
        self.heard.append(message)
        for count, reply in tuple(self.waiting):
            if len(self.heard) >= count:
                reply.send(list(self.heard))

    @kb.message
    def wait_for(self, count: int) -> list[Any]:
        if len(self.heard) < count:
            self.waiting.append((count, kb.defer()))
        return list(self.heard)


def doubled(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"total": state["total"] * 2}


def failing(state: dict[str, Any]) -> dict[str, Any]:
    state["total"] = -1
    raise KeyError("half way")


def no_state(state: Any) -> Any:
    return None


def count_events(count: int, event: otp.TraceEvent) -> Any:
    """A debug function that has had enough after three."""
    return otp.DONE if count == 2 else count + 1


def failing_hook(state: Any, event: otp.TraceEvent) -> Any:
    raise RuntimeError("a bad debug function")
