"""A store in memory that outlives its program, with a clock that the test has in its hand."""

from __future__ import annotations

import asyncio
from typing import Any

from koboshi.durable.stores import MemoryEngine
from koboshi.testing._time import START


class KeptStore(MemoryEngine):
    """Pass it as `store=`. Its clock is the loop's, plus `offset`: what passes while no program runs."""

    def __init__(self) -> None:
        super().__init__("kept", clock=self.time)
        self.offset = 1_700_000_000.0
        self._opened = False

    def __call__(self) -> KeptStore:
        return self

    def __hash__(self) -> int:
        return id(self)

    def time(self) -> float:
        return self.offset + asyncio.get_running_loop().time()

    async def open(self, host: str) -> None:
        if not self._opened:
            await super().open(host)
            self._opened = True

    async def close(self) -> None:
        """It is kept; see `drop`. The next loop's clock begins anew, and this one's goes on."""
        self.offset += asyncio.get_running_loop().time() - START

    def drop(self) -> None:
        """Let it go at last."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection.close()

    def rows(self, text: str, *values: Any) -> list[Any]:
        """What a statement finds; nothing is committed at that moment, since the engine has no thread."""
        assert self._connection is not None
        return self._connection.connection.execute(text, values).fetchall()
