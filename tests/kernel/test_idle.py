"""Idle timeouts: after that time without a message, put off by any, never in the middle of work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb


class Recorder(kb.Actor):
    """Keeps a record that outlives it."""

    def __init__(self, record: list[Any]) -> None:
        self.record = record

    @kb.message
    def put(self, entry: Any) -> Any:
        self.record.append(entry)
        return entry

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")


class Idle(Recorder):
    """Says when it has been idle."""

    def __init__(self, record: list[Any], seconds: float) -> None:
        super().__init__(record)
        self.set_idle_timeout(seconds)

    def on_idle(self) -> None:
        self.record.append(asyncio.get_running_loop().time() - 1000.0)

    @kb.message
    def never(self) -> None:
        self.set_idle_timeout(None)

    @kb.message
    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def test_on_idle_comes_after_that_time_without_a_message_and_again() -> None:
    async def main() -> None:
        record: list[Any] = []
        await kb.start(Idle, record, 2.0)
        await asyncio.sleep(5.0)

        assert [2.0, 4.0] == pytest.approx(record)

    run_virtual(main)


def test_a_timeout_set_in_a_message_counts_from_its_end() -> None:
    class Late(Idle):
        def __init__(self, record: list[Any]) -> None:
            Recorder.__init__(self, record)

        @kb.message
        def begin(self, seconds: float) -> None:
            self.set_idle_timeout(seconds)

    async def main() -> None:
        for cast in (False, True):
            record: list[Any] = []
            ref = await kb.start(Late, record)
            began = asyncio.get_running_loop().time() - 1000.0
            if cast:
                ref.cast(Late.begin, 2.0)
            else:
                await ref.call(Late.begin, 2.0)
            await asyncio.sleep(3.0)

            assert [began + 2.0] == pytest.approx(record)
            await ref.stop()

    run_virtual(main)


def test_any_message_puts_the_idle_timeout_off() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        for _ in range(3):
            await asyncio.sleep(1.5)
            ref.tell("anything")
        await asyncio.sleep(1.9)
        assert [] == record
        await asyncio.sleep(0.2)

        assert [6.5] == pytest.approx(record)

    run_virtual(main)


def test_time_spent_in_a_handler_is_not_idle_time() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        await ref.call(Idle.work, 4.0)
        await asyncio.sleep(1.0)
        assert [] == record
        await asyncio.sleep(1.5)

        assert [6.0] == pytest.approx(record)

    run_virtual(main)


def test_an_idle_timeout_can_be_turned_off() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        await ref.call(Idle.never)
        await asyncio.sleep(10.0)

        assert [] == record

    run_virtual(main)


def test_an_idle_timeout_of_zero_waits_until_the_mailbox_is_empty() -> None:
    async def main() -> None:
        class Eager(Recorder):
            def on_idle(self) -> None:
                self.record.append("idle")
                self.set_idle_timeout(None)

            @kb.message
            def begin(self) -> None:
                self.set_idle_timeout(0)
                for number in range(3):
                    self.me.cast(Recorder.put, number)

        record: list[Any] = []
        ref = await kb.start(Eager, record)
        await ref.call(Eager.begin)
        await asyncio.sleep(1.0)

        assert [0, 1, 2, "idle"] == record

    run_virtual(main)


def test_a_dead_actor_leaves_no_idle_timer() -> None:
    async def main() -> None:
        record: list[Any] = []
        ref = await kb.start(Idle, record, 2.0)
        ref.kill()
        await ref.wait_exit()
        await asyncio.sleep(5.0)

        assert [] == record

    run_virtual(main)
