"""A program that counts in a disk table, says each number once it is synced, and never ends by itself.

python killed_writer.py PATH
"""

from __future__ import annotations

import asyncio
import sys

import koboshi as kb
from koboshi import otp


class Writer(kb.Actor):
    """Adds one row and one count at a time."""

    async def on_start(self) -> None:
        self.table = await otp.DiskTable[tuple[str, int]].open(sys.argv[1], auto_save=None)
        self.continue_with()

    async def on_continue(self, value: object) -> None:
        number = self.table.update_counter("count", 1, ("count", 0))
        self.table.insert((f"row {number}", number))
        self.table.delete(f"row {number - 5}")
        await self.table.sync()
        print(number, flush=True)
        # Not synced: a kill may keep it or not, but never a part of it.
        self.table.insert(("torn", number), ("torn too", number))
        self.continue_with()


async def main() -> None:
    async with kb.Supervisor(kb.child(Writer)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    kb.run(main)
