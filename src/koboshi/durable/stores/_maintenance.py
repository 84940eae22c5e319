"""What a person does to the tables of a store: look at them, and bring them up to date."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from urllib.parse import quote, unquote

from ..._kernel._errors import UsageError
from .._failures import StoreUnavailable, StoreUnusable
from ._open import check_url
from ._report import StoreReport, report_of
from ._sql_url import SERVERS, check_extra, parse_url
from ._sqlite_file import check_place, create_file, prepare, schema_version
from ._tables import TABLES

__all__ = ["check_store", "migrate_store"]


async def migrate_store(url: str) -> int:
    """Make the tables of a store, or bring them up to date; the version that was there, 0 for none.

    Stop the programs that use the store before, unless the release says that they may go on.

    Raises:
        StoreUnusable: something else is there, or tables of a newer version; nothing was changed.
        StoreUnavailable: nobody is there.
    """
    check_url(url)
    if _family(url) in SERVERS:
        server = parse_url(url)
        check_extra(server)
        from ._sql_engine import migrate_server  # a file does not need SQLAlchemy

        return await migrate_server(server)
    path = _path(url)
    check_place(path)
    create_file(path)
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5.0)) as connection:
        try:
            version = schema_version(connection, path)
            prepare(connection, path, migrating=True)
        except sqlite3.Error as error:
            raise StoreUnavailable(url, str(error)) from error
        return version


async def check_store(url: str) -> StoreReport:
    """What is in a store; changes nothing.

    Raises:
        StoreUnusable: something else is there, or nothing.
        StoreUnavailable: nobody is there.
    """
    check_url(url)
    if _family(url) in SERVERS:
        server = parse_url(url)
        check_extra(server)
        from ._sql_engine import check_server  # a file does not need SQLAlchemy

        return await check_server(server)
    return _check_file(_path(url))


def _check_file(path: str) -> StoreReport:
    check_place(path)
    if not os.path.exists(path):
        make = f"correct the path, or make it: koboshi db migrate sqlite:///{path}"
        raise StoreUnusable(path, "there is no such file", make)
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=5.0)) as connection:
        try:
            return _look(connection, path)
        except sqlite3.Error as error:
            raise StoreUnavailable(path, str(error)) from error


def _family(url: str) -> str:
    return url.partition("://")[0].partition("+")[0]


def _path(url: str) -> str:
    if _family(url) != "sqlite":
        raise UsageError(f"the store {url!r} lasts no longer than its program: there is nothing to look at")
    return os.path.abspath(unquote(url.partition("://")[2][1:]))


def _look(connection: sqlite3.Connection, path: str) -> StoreReport:
    version = schema_version(connection, path)
    names = [
        str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    found = {
        name: {str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})")}
        for name in names
        if name in TABLES
    }
    return report_of(f"sqlite:///{path}", version, found, connection.execute)
