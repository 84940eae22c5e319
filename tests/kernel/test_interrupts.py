from __future__ import annotations

import asyncio

import pytest

import koboshi as kb


class Interrupted(kb.Actor):
    def __init__(self, where: str) -> None:
        self.where = where
        if where == "__init__":
            raise KeyboardInterrupt

    def on_start(self) -> None:
        if self.where == "on_start":
            raise KeyboardInterrupt

    def on_stop(self, reason: kb.ExitReason) -> None:
        if self.where == "on_stop":
            raise KeyboardInterrupt

    @kb.message
    def nothing(self) -> None:
        pass


@pytest.mark.parametrize("where", ["__init__", "on_start", "on_stop"])
def test_a_keyboard_interrupt_in_a_callback_interrupts_the_program(where: str) -> None:
    async def main() -> None:
        async with kb.Supervisor(kb.child(Interrupted, where)):
            pass

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
