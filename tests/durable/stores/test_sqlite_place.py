"""A SQLite store and its place: a file that goes away under a program, and one that has two names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import koboshi as kb


class Counter(kb.DurableActor[int]):
    @kb.message
    def add(self, number: int) -> int:
        self.state += number
        return self.state


async def test_nothing_is_acknowledged_into_a_file_that_was_removed(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    counters = kb.durable(Counter, store=f"sqlite:///{file}")
    async with kb.Supervisor(counters.child()):
        assert 1 == await counters["one"].call(Counter.add, 1)
        os.unlink(file)
        for _ in range(2):
            with pytest.raises(kb.StoreUnavailable, match=r"its file is gone .* put it back"):
                await counters["one"].call(Counter.add, 1)
        assert not file.exists()


async def test_a_file_that_was_replaced_is_told_once_and_read_from_then_on(tmp_path: Path) -> None:
    file, copy = tmp_path / "app.db", tmp_path / "copy.db"
    counters = kb.durable(Counter, store=f"sqlite:///{file}")
    async with kb.Supervisor(counters.child()):
        assert 1 == await counters["one"].call(Counter.add, 1)
    shutil.copy(file, copy)
    async with kb.Supervisor(counters.child()):
        assert 3 == await counters["one"].call(Counter.add, 2)
        for rest in ("-wal", "-shm"):
            os.unlink(f"{file}{rest}")
        os.replace(copy, file)
        with pytest.raises(kb.StoreUnavailable, match="replaced by another one"):
            await counters["one"].call(Counter.add, 4)
        assert 5 == await counters["two"].request("again").call(Counter.add, 5)
        assert 2 == await counters["one"].request("again").call(Counter.add, 1)


async def test_a_link_and_its_file_are_one_store_whose_programs_see_each_other(tmp_path: Path) -> None:
    file, link = tmp_path / "app.db", tmp_path / "link.db"
    link.symlink_to(file)
    file.touch()
    one = kb.durable(Counter, store=f"sqlite:///{file}", type="counter")
    other = kb.durable(Counter, store=f"sqlite:///{link}", type="counter")
    async with kb.Supervisor(one.child(), other.child().options(id="other")):
        assert 1 == await one["one"].call(Counter.add, 1)
        with pytest.raises(kb.CallTimeout):
            await other["one"].within(0.3).call(Counter.add, 1)
        assert 2 == await one["one"].call(Counter.add, 1)
