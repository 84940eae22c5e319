"""A log that can be read from several places, and who reads it; importable by worker nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import koboshi as kb
from koboshi import otp


class Log:
    """Numbers from 1 on, one more each time `grow` is called; the same for all who read it."""

    def __init__(self) -> None:
        self.end = 0
        self.grown = asyncio.Condition()
        self.down: set[str] = set()
        self.silent: set[str] = set()
        self.polls: list[tuple[str, Any]] = []

    async def grow(self, count: int = 1) -> None:
        async with self.grown:
            self.end += count
            self.grown.notify_all()

    def poll(self, name: str, every: float = 1.0) -> otp.Poll:
        """A poll source of that name."""

        async def poll(cursor: int | None) -> tuple[list[int], int]:
            self.polls.append((name, cursor))
            if name in self.silent:
                await asyncio.Event().wait()
            if name in self.down:
                raise ConnectionError(name)
            return list(range((cursor or 0) + 1, self.end + 1)), self.end

        return otp.Poll(name, poll, every)

    def push(self, name: str) -> otp.Push:
        """A push source of that name; in `down` it fails with its next item, in `silent` it says nothing."""

        async def push(feed: otp.Feed) -> None:
            at = feed.cursor or 0
            while True:
                if name in self.down:
                    raise ConnectionError(name)
                if name not in self.silent and at < self.end:
                    at += 1
                    await feed.deliver(at, at)
                else:
                    async with self.grown:
                        await self.grown.wait()

        return otp.Push(name, push)


class Sink(kb.Actor):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.waiting: list[tuple[int, kb.ReplyTo[list[Any]]]] = []

    @kb.message
    def once_taken(self, count: int) -> list[Any]:
        """Answers when it has so many."""
        if len(self.items) < count:
            self.waiting.append((count, kb.defer()))
        return self.items

    @kb.message
    def take(self, item: Any) -> None:
        self.items.append(item)
        for count, reply in self.waiting:
            if len(self.items) >= count:
                reply.send(self.items)
        if item == "poison":
            raise ValueError(item)

    @kb.message
    def taken(self) -> list[Any]:
        return self.items


async def count_to(feed: otp.Feed, last: int) -> None:
    """A push source for worker nodes: the numbers up to `last`, then only heartbeats."""
    for n in range((feed.cursor or 0) + 1, last + 1):
        await feed.deliver(n, n)
    await asyncio.Event().wait()
