"""Processes that hold keys, on whichever node."""

from __future__ import annotations

import os
from typing import Any

import koboshi as kb
from koboshi import otp


class Holder(kb.Actor):
    """Does with the registry what it is told."""

    def __init__(self, registry: Any = "reg", *keys: Any) -> None:
        self.keys = otp.registry(registry)
        self.first = keys
        self.got: list[object] = []

    async def on_start(self) -> None:
        for key in self.first:
            await self.keys.register(key)

    @kb.message
    async def register(self, key: Any, value: Any = None) -> None:
        await self.keys.register(key, value)

    @kb.message
    async def try_register(self, key: Any) -> kb.ActorRef[Any] | None:
        try:
            await self.keys.register(key)
        except otp.AlreadyRegistered as taken:
            return taken.ref
        return None

    @kb.message
    async def unregister(self, key: Any) -> None:
        await self.keys.unregister(key)

    @kb.message
    async def drop_values(self, key: Any, value: Any) -> None:
        await self.keys.unregister_match(key, lambda held: bool(held == value))

    @kb.message
    async def update(self, key: Any, by: int) -> tuple[Any, Any] | None:
        return await self.keys.update_value(key, lambda value: value + by)

    @kb.message
    async def mine(self) -> list[Any]:
        return await self.keys.keys()

    @kb.message
    async def whereis(self, key: Any) -> kb.ActorRef[Any] | None:
        return await self.keys.whereis(key)

    @kb.message
    async def call_via(self, key: Any) -> int:
        return await (await self.keys.via(Holder, key)).call(Holder.pid)

    @kb.message
    async def count(self) -> int:
        return await self.keys.count()

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def seen(self) -> list[object]:
        return self.got

    def on_info(self, message: object) -> None:
        self.got.append(message)
