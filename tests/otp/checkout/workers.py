"""Workers that are lent, on whichever node, and owners that borrow them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import koboshi as kb
from koboshi import otp


class Worker(kb.Actor):
    """Counts who has used it."""

    def __init__(self, may_start: Callable[[], bool] = lambda: True) -> None:
        if not may_start():
            raise OSError("no connection")
        self.uses = 0
        self.resets = 0
        self.sick = False

    @kb.message
    def use(self) -> int:
        self.uses += 1
        return self.uses

    @kb.message
    def use_for(self, purpose: str) -> str:
        self.uses += 1
        return purpose

    @kb.message
    def reset(self) -> None:
        if self.sick:
            raise ValueError("cannot be reset")
        self.resets += 1

    @kb.message
    def ping(self) -> None:
        if self.sick:
            raise ValueError("not well")

    @kb.message
    def fall_sick(self) -> None:
        self.sick = True

    @kb.message
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @kb.message
    def count_resets(self) -> int:
        return self.resets

    @kb.message
    def pid(self) -> int:
        return os.getpid()


class Owner(kb.Actor):
    """Borrows, and gives back when it is told to."""

    def __init__(self, pool: Any = "pool") -> None:
        self.pool = otp.checkout_pool(pool, Worker)
        self.held: list[kb.ActorRef[Worker]] = []

    @kb.message
    async def take(self, timeout: float | None = 5.0, block: bool = True) -> kb.ActorRef[Worker]:
        ref = await self.pool.checkout(timeout, block=block)
        self.held.append(ref)
        return ref

    @kb.message
    def give_back(self) -> None:
        self.pool.checkin(self.held.pop())
