"""Owners and users of tables, on whichever node."""

from __future__ import annotations

from typing import Any

import koboshi as kb
from koboshi import otp


class Owner(kb.Actor):
    """Makes a table, and does with it what it is told."""

    def __init__(self, name: Any = "t", **options: Any) -> None:
        self.name = name
        self.options = options
        self.got: list[otp.TableTransfer] = []

    def on_start(self) -> None:
        if self.name is not None:
            self.table = otp.new_table(self.name, **self.options)

    @kb.message
    def do(self, what: str, *args: Any) -> Any:
        return getattr(self.table, what)(*args)

    @kb.message
    def handle(self) -> otp.TableHandle:
        return self.table.anywhere

    @kb.message
    async def through(self, handle: otp.TableHandle, what: str, *args: Any) -> Any:
        try:
            return await getattr(handle, what)(*args)
        except (kb.KoboshiError, LookupError) as error:
            return type(error)

    @kb.message
    def transfers(self) -> list[tuple[Any, kb.ActorRef[Any], object]]:
        return [(each.table.name, each.sender, each.data) for each in self.got]

    def on_info(self, message: Any) -> None:
        self.got.append(message)
        self.table = message.table
