"""What a host does to itself: die at a statement of the store, and make a mistake that a run must find."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from koboshi.durable.actors import _activation, _write
from koboshi.durable.stores._sqlite import SqliteConnection, SqliteSession

__all__ = ["BUGS", "die_at", "plant"]

_SQL = "koboshi.durable.stores._sql_session"
_left = 0
_STATEMENTS = ("insert", "update", "upsert", "delete", "lookup", "fetch", "take", "run", "execute")


def _classes(sqlite: type[Any], name: str) -> list[type[Any]]:
    """The classes of both engines, as far as they are loaded: a host of a file starts faster without the other."""
    return [sqlite, getattr(sys.modules[_SQL], name)] if _SQL in sys.modules else [sqlite]


def _boundary() -> None:
    global _left
    if _left:
        _left -= 1
        if not _left:
            os.kill(os.getpid(), signal.SIGKILL)


def _counted(call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        _boundary()
        value = call(*args, **kwargs)
        _boundary()
        return value

    return counted


def die_at(boundary: int) -> None:
    """Die by SIGKILL at the begin or end of the so many-th statement from now, COMMIT included."""
    global _left
    if not _left:
        for cls in _classes(SqliteSession, "SqlSession"):
            for name in _STATEMENTS:
                setattr(cls, name, _counted(getattr(cls, name)))
        for connection in _classes(SqliteConnection, "SqlConnection"):
            for name in ("begin", "commit"):
                setattr(connection, name, _counted(getattr(connection, name)))
    _left = boundary


def _without_fence() -> None:
    """A write finds its row whoever has the actor by now, at whatever revision."""
    key = len(_write._KEY)
    importlib.import_module(_SQL)

    def unfenced(original: Any) -> Any:
        def changed(self: Any, table: Any, match: Any, change: Any, rows: Any) -> Any:
            if match == _write._FENCE:
                rows = [(*row[:key], *row[len(match) :]) for row in rows]
                match = match[:key]
            return original(self, table, match, change, rows)

        return changed

    for cls in _classes(SqliteSession, "SqlSession"):
        setattr(cls, "update", unfenced(cls.update))  # noqa: B010 - a method is replaced


def _early_reply() -> None:
    """A reply leaves before its turn is committed."""

    def reply_now(self: Any, write: Any, value: Any, *, is_error: bool) -> Any:
        if is_error:
            raise value
        return value

    setattr(_activation.Activation, "_reply_with", reply_now)  # noqa: B010
    join = _activation.Activation._join

    def joined(self: Any, run: Any, value: Any, *args: Any) -> Any:
        join(self, run, value, *args)
        return value

    setattr(_activation.Activation, "_join", joined)  # noqa: B010


def _kept_outbox() -> None:
    """The message that a turn has handled stays in the outbox."""

    def consume(session: Any, writes: Any) -> None:
        return None

    setattr(_write, "_consume", consume)  # noqa: B010


BUGS: dict[str, Callable[[], None]] = {
    "without-fence": _without_fence,
    "early-reply": _early_reply,
    "kept-outbox": _kept_outbox,
}


def plant(bug: str) -> None:
    """Make the mistake of that name; none for an empty one."""
    if bug:
        BUGS[bug]()
