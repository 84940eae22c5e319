"""Handlers of these tests, importable by worker nodes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import koboshi as kb
from koboshi import otp


class Keeps(otp.EventHandler):
    """Keeps what it hears, and gives it to its successor."""

    def __init__(self, *heard: Any) -> None:
        self.heard = list(heard)
        self.secret = "1234"

    def on_start(self, handed_over: Any) -> None:
        if handed_over is not None:
            self.heard += handed_over

    def on_event(self, event: Any) -> None:
        self.heard.append(event)
        if event == "fail":
            raise ValueError("bad event")
        if event == "leave":
            self.remove()
        if event == "swap":
            self.swap(otp.handler(Other))
        if event == "stop":
            raise kb.Stop("enough")
        if event == "cancel":
            raise asyncio.CancelledError
        if event == "exit":
            raise SystemExit(3)

    def on_call(self, request: Any) -> Any:
        if request == "fail":
            raise KeyError("bad request")
        if request == "leave":
            self.remove()
            return "gone"
        return list(self.heard)

    def on_info(self, message: Any) -> None:
        self.heard.append(("info", message))

    def on_stop(self, reason: Any) -> Any:
        self.heard.append(("stopped", reason))
        return list(self.heard)

    def format_status(self) -> object:
        return {"heard": len(self.heard)}


class Other(Keeps):
    """Another class with the same manners."""


class Slow(otp.EventHandler):
    """Awaits in each callback."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def on_start(self, handed_over: Any) -> None:
        await asyncio.sleep(0)
        self.heard.append("started")

    async def on_event(self, event: Any) -> None:
        await asyncio.sleep(0)
        self.heard.append(event)

    async def on_call(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return list(self.heard)

    async def on_stop(self, reason: Any) -> Any:
        await asyncio.sleep(0)
        return "slowly"


class Mute(otp.EventHandler):
    """Has no callbacks of its own."""


class NoStart(otp.EventHandler):
    """Cannot be made, or started."""

    def __init__(self, where: str) -> None:
        self.where = where
        if where == "__init__":
            raise LookupError(where)

    def on_start(self, handed_over: Any) -> None:
        raise LookupError(self.where)


class NoStop(Keeps):
    """Fails at its end."""

    def on_stop(self, reason: Any) -> Any:
        raise OSError("stuck")


class Owner(kb.Actor):
    """Supervises handlers, and keeps what it is told of them."""

    def __init__(self, manager: otp.EventManagerHandle, *, traps: bool = False) -> None:
        self.manager = manager
        self.traps = traps
        self.told: list[Any] = []
        self.waiting: list[tuple[int, kb.ReplyTo[list[Any]]]] = []

    def on_start(self) -> None:
        self.trap_exits(self.traps)

    @kb.message
    async def add(self, spec: otp.HandlerSpec[Any]) -> None:
        await self.manager.add_supervised_handler(spec)

    @kb.message
    async def swap(self, id: Any, spec: otp.HandlerSpec[Any]) -> None:
        await self.manager.swap_supervised_handler(id, spec)

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def all_told(self, count: int) -> list[Any]:
        if len(self.told) < count:
            self.waiting.append((count, kb.defer()))
        return list(self.told)

    def on_info(self, message: Any) -> None:
        if isinstance(message, otp.HandlerGone):
            message = (message.handler, message.reason, message.swapped_for)
        self.told.append(message)
        for count, reply in self.waiting:
            if len(self.told) >= count:
                reply.send(list(self.told))
