"""Runs test bodies as the owner of tables, and one actor that may be told to run any function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import koboshi as kb
from koboshi import otp


class Owner(kb.Actor):
    """Runs what it is given, as itself, and keeps the objects that it is told."""

    def __init__(self, *make: Callable[[], Any]) -> None:
        self.heard: list[Any] = []
        self.made = [fn() for fn in make]

    @kb.message
    async def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        try:
            result = fn(*args)
            return await result if inspect.isawaitable(result) else result
        except kb.KoboshiError as refused:
            kb.defer().fail(refused)

    @kb.message
    def leave(self) -> None:
        self.stop()

    @kb.message
    def transfers(self) -> list[Any]:
        return self.heard

    def on_info(self, message: Any) -> None:
        self.heard.append(message)


async def as_process(body: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a body in a process of its own and wait until that has ended."""
    ref = await kb.start(Owner)
    try:
        return await ref.within(30).call(Owner.run, body, *args)
    finally:
        if ref.alive:
            await ref.stop()


async def owned(*, by: kb.ActorRef[Owner] | None = None, **options: Any) -> tuple[Any, kb.ActorRef[Owner]]:
    """A table and its owner, which is another process than the test's."""
    owner = await kb.start(Owner) if by is None else by
    options.setdefault("name", "rows")
    name = options.pop("name")
    table: otp.Table[Any] = await owner.call(Owner.run, lambda: otp.Table[Any](name, **options))
    return table, owner


async def reopened(path: Path, **options: Any) -> list[Any]:
    """All rows that a new owner finds in a file."""

    async def body() -> list[Any]:
        table = await otp.DiskTable[Any].open(path, **options)
        return table.rows()

    rows: list[Any] = await as_process(body)
    return rows


#: In a test: every kind of table in memory, owned by the process that runs the test's body.
KINDS = ("set", "ordered_set", "bag", "duplicate_bag")
