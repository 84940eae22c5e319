"""A clock that stands still, and a connection that can be hooked before and after each statement."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koboshi.durable import Backoff, Ledger

Hook = Callable[[sqlite3.Connection, str, str], None]


class Clock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class HookedCursor(sqlite3.Cursor):
    """Tells its connection's hook about each statement."""

    def execute(self, sql: str, parameters: Any = (), /) -> HookedCursor:
        connection = self.connection
        assert isinstance(connection, HookedConnection)
        connection.hook(connection, "before", sql)
        super().execute(sql, parameters)
        connection.hook(connection, "after", sql)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> HookedCursor:
        connection = self.connection
        assert isinstance(connection, HookedConnection)
        connection.hook(connection, "before", sql)
        super().executemany(sql, parameters)
        connection.hook(connection, "after", sql)
        return self


class HookedConnection(sqlite3.Connection):
    hook: Hook

    def cursor(self, factory: object = None) -> HookedCursor:  # type: ignore[override]
        return super().cursor(HookedCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> HookedCursor:
        return self.cursor().execute(sql, parameters)


class Faults:
    """A `connect` for ledgers. Set `hook` to be called as hook(connection, "before" | "after", sql)."""

    def __init__(self) -> None:
        self.hook: Hook | None = None
        self.refuse: Exception | None = None
        self._hooked = False

    def connect(self, path: str) -> sqlite3.Connection:
        if self.refuse is not None:
            raise self.refuse
        connection = sqlite3.connect(path, factory=HookedConnection)
        connection.hook = self._call
        return connection

    def _call(self, connection: sqlite3.Connection, when: str, sql: str) -> None:
        if self.hook is None or self._hooked:  # a hook's own statements are not hooked
            return
        self._hooked = True
        try:
            self.hook(connection, when, sql)
        finally:
            self._hooked = False

    def fail_once(self, when: str, sql: str, error: Exception) -> None:
        """Raises `error` the next time a statement that starts with `sql` is reached."""
        fired = False

        def hook(connection: sqlite3.Connection, moment: str, statement: str) -> None:
            nonlocal fired
            if not fired and moment == when and statement.startswith(sql):
                fired = True
                raise error

        self.hook = hook


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest.fixture
def new_ledger(path: str, clock: Clock) -> Callable[..., Ledger]:
    """Makes a ledger at `path` with the still clock, seeded randomness and a backoff without jitter."""

    def make(**options: Any) -> Ledger:
        defaults: dict[str, Any] = {
            "clock": clock,
            "randomness": random.Random(7),
            "backoff": Backoff(first=10.0, factor=2.0, limit=60.0, jitter=0.0),
            "max_attempts": 3,
        }
        return Ledger(path, **(defaults | options))

    return make
