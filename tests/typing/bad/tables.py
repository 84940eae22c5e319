"""Mistakes with tables and rings, each on the line that ends with `# refused`."""

from __future__ import annotations

from koboshi import otp


def use(table: otp.Table[tuple[str, int]], ring: otp.Ring[str]) -> None:
    table.insert(("a", "b"))  # refused
    table.insert(7)  # refused
    number: int = table.lookup("a")  # refused
    table.select(lambda row: row.seats)  # refused
    table.select_replace(None, lambda row: "row")  # refused
    table.update_counter("a", "1")  # refused
    ring.append(1)  # refused
    ring.last("1")  # refused
    assert number


async def remote(table: otp.TableHandle[tuple[str, int]]) -> None:
    await table.insert(("a", "b"))  # refused
    text: str = await table.update_counter("a")  # refused
    assert text


def make() -> None:
    otp.Table[tuple[str, int]]("rows", kind="list")  # refused
    otp.Table[int]("rows")  # refused
    otp.TableSpec("rows", access="open")  # refused
