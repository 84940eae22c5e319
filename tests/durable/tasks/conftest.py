"""Stores for queues: a file, and the memory with a clock that may be a virtual one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from koboshi.durable.stores import MemoryEngine, StoreURL


class Clock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def memory_on_the_loop() -> MemoryEngine:
    """Memory whose clock is the event loop's own."""
    loop = asyncio.get_running_loop()
    return MemoryEngine("loop", clock=lambda: 1_000_000.0 + loop.time())


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, file_url: str) -> StoreURL:
    return "memory://tests" if request.param == "memory" else file_url
