"""Actors of these tests, importable by worker nodes."""

from __future__ import annotations

from typing import Any

import koboshi as kb


class Member(kb.Actor):
    """Does with a handle what a test asks of it, on whatever node it is, and keeps what it is told."""

    def __init__(self, *, traps: bool = False) -> None:
        self.traps = traps
        self.heard: list[Any] = []
        self.waiting: list[tuple[int, kb.ReplyTo[list[Any]]]] = []

    def on_start(self) -> None:
        self.trap_exits(self.traps)

    def on_info(self, message: Any) -> None:
        self.heard.append(message)
        for wanted, reply in self.waiting:
            if len(self.heard) >= wanted:
                reply.send(list(self.heard))

    @kb.message
    async def do(self, handle: Any, method: str, *args: Any) -> Any:
        return await getattr(handle, method)(*args)

    @kb.message
    def once_heard(self, count: int) -> list[Any]:
        """Answers when it has been told so many things."""
        if len(self.heard) < count:
            self.waiting.append((count, kb.defer()))
        return list(self.heard)

    @kb.message
    def tell_to(self, ref: kb.ActorRef[Any], what: Any) -> None:
        ref.tell(what)

    @kb.message
    async def ask_heard(self, ref: kb.ActorRef[Any], count: int) -> list[Any]:
        heard: list[Any] = await ref.call(Member.once_heard, count)
        return heard

    @kb.message
    def keep(self, ref: kb.ActorRef[Any]) -> None:
        self.kept = ref

    @kb.message
    async def ask_kept(self, count: int) -> list[Any]:
        heard: list[Any] = await self.kept.call(Member.once_heard, count)
        return heard

    @kb.message
    def fail(self) -> None:
        raise ValueError("on purpose")


def doubled(value: int) -> int:
    return 2 * value


def failing(value: Any) -> Any:
    raise ValueError(f"cannot change {value!r}")


def is_big(value: int) -> bool:
    return value >= 10


def sees_big(registration: Any) -> bool:
    return is_big(registration.value)
