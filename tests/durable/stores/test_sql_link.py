"""Connections of drivers that block, shown on one that is here: work is done in a thread of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from koboshi.durable.stores._sql_link import ThreadLink


def engine(path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)


async def test_work_is_done_in_the_connections_own_thread(tmp_path: Path) -> None:
    link = await ThreadLink.open(engine(tmp_path / "one.db"))
    assert not link.used

    names = {
        await link.call(lambda _, touch: (touch(), threading.current_thread().name)[1])  # type: ignore[func-returns-value]
        for _ in range(3)
    }
    found = await link.call(lambda connection, _: connection.exec_driver_sql("SELECT 7").scalar_one())
    await link.close()

    assert 1 == len(names)
    assert threading.current_thread().name not in names
    assert 7 == found
    assert link.used


async def test_an_error_of_the_work_comes_out_and_the_connection_can_be_thrown_away(tmp_path: Path) -> None:
    link = await ThreadLink.open(engine(tmp_path / "one.db"))

    with pytest.raises(OperationalError, match="nowhere"):
        await link.call(lambda connection, _: connection.exec_driver_sql("SELECT * FROM nowhere"))
    await link.discard()


async def test_a_connection_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(OperationalError):
        await ThreadLink.open(engine(tmp_path / "no folder" / "one.db"))
