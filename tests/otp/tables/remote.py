"""An actor of these tests that uses handles on whatever node it is, and functions that nodes can import."""

from __future__ import annotations

import os
from typing import Any

import koboshi as kb
from koboshi import otp


class User(kb.Actor):
    """Does an operation on a handle, or makes a table of its own and gives its handle out."""

    def __init__(self) -> None:
        self.table: otp.Table[Any] | None = None

    @kb.message
    async def do(self, handle: otp.TableHandle[Any], operation: str, *args: Any) -> Any:
        try:
            return await getattr(handle, operation)(*args)
        except Exception as error:  # what a handle raises is what the test wants to see
            kb.defer().fail(error)

    @kb.message
    async def find(self, owner: Any, name: Any) -> otp.TableHandle[Any]:
        return otp.table(owner, name)

    @kb.message
    def is_local(self, handle: otp.TableHandle[Any]) -> bool:
        return handle.local is not None

    @kb.message  # type: ignore[arg-type]
    def make(self, **options: Any) -> otp.TableHandle[Any]:
        self.table = otp.Table[Any]("own", **options)
        return self.table.handle

    @kb.message
    def insert(self, *rows: Any) -> None:
        assert self.table is not None
        self.table.insert(*rows)

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def crash(self) -> None:
        raise ValueError("crash")


def is_even(row: tuple[Any, ...]) -> bool:
    """A predicate that travels by its name."""
    return bool(row[1] % 2 == 0)


def fails(row: tuple[Any, ...]) -> bool:
    """A predicate that always fails."""
    raise ZeroDivisionError(row)


def second(row: tuple[Any, ...]) -> Any:
    """A result that travels by its name."""
    return row[1]


def add(total: int, row: tuple[Any, ...]) -> int:
    """A fold that travels by its name."""
    return total + int(row[1])


def doubled(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A replacement that travels by its name."""
    return (row[0], row[1] * 2)
