"""Versions of an actor class, importable by worker nodes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import koboshi as kb


class Counter(kb.Actor):
    """The first version counts apples."""

    version = 1

    def __init__(self, apples: int = 0) -> None:
        self.apples = apples
        self.gate: asyncio.Event | None = None

    @kb.message
    def add(self, count: int) -> Any:
        self.apples += count
        return self.apples

    @kb.message
    def only_old(self) -> str:
        return "old"

    @kb.message
    async def hold(self) -> int:
        self.gate = asyncio.Event()
        await self.gate.wait()
        self.gate = None
        return self.apples

    @kb.message
    def pid(self) -> int:
        return os.getpid()


class Counter2(kb.Actor):
    """The second counts fruit by kind."""

    version = 2

    def __init__(self, apples: int = 0) -> None:
        self.fruit = {"apples": apples}
        self.seen: list[Any] = []

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {"fruit": {"apples": state["apples"]}, "seen": [("from", old_version)]}

    @kb.message
    def add(self, count: int) -> Any:
        self.fruit["apples"] += count
        return dict(self.fruit)

    @kb.message
    def add_pears(self, count: int) -> Any:
        self.fruit["pears"] = count
        return dict(self.fruit)

    @kb.message
    def crash(self) -> None:
        raise ValueError("rotten")

    def on_info(self, message: Any) -> None:
        self.seen.append(message)

    def on_stop(self, reason: kb.ExitReason) -> None:
        self.seen.append("stopped")


class Counter3(Counter2):
    """The second once more."""

    version = 3

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        return state


class CannotMigrate(Counter2):
    """Changes what it can and then fails."""

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        state.clear()
        self.damage = True
        raise LookupError("no such fruit")


class Stops(Counter2):
    """Asks to end in the middle of it."""

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        raise kb.Stop("not this one")


class NoDict(Counter2):
    """Returns no state."""

    def code_change(self, old_version: Any, state: dict[str, Any]) -> Any:
        return None


class Awaits(Counter2):
    """Wants to wait."""

    async def code_change(self, old_version: Any, state: dict[str, Any]) -> Any:  # type: ignore[override]
        return state


class OtherArguments(Counter2):
    """Cannot be started with what the first version is."""

    def __init__(self, pears: int, plums: int) -> None:
        super().__init__(pears + plums)


class OtherLayout(kb.Actor):
    """Has slots, so no object of the first version can become one."""

    __slots__ = ("apples",)


class AddsNothing(Counter):
    """The same state, another method."""

    version = "1.1"  # type: ignore[assignment]

    @kb.message
    def add(self, count: int) -> Any:
        self.apples += count * 10
        return self.apples
