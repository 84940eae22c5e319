"""The tables of a store on a server: making them, refusing what is not ours, and saying what is there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from .._failures import ForeignStore, WrongSchemaVersion
from ._report import StoreReport, report_of
from ._sql_dialect import Dialect, Statement
from ._sql_url import SqlURL
from ._tables import MIGRATIONS, SCHEMA_VERSION, TABLES

__all__ = ["prepare", "report", "schema_version"]

# How often to try without a lock; each failure means that somebody else got further.
_RACES = 20

Catalogue = dict[str, set[str]]


def catalogue(connection: sa.Connection, dialect: Dialect) -> Catalogue:
    """The columns of each table of the database."""
    found: Catalogue = {}
    for table, column in connection.exec_driver_sql(dialect.catalogue):
        found.setdefault(_name(table), set()).add(_name(column))
    return found


def _name(value: Any) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.lower()


def schema_version(connection: sa.Connection, dialect: Dialect, url: SqlURL) -> int:
    """The version of the tables, 0 where there are none; only reads.

    Raises:
        ForeignStore: there are tables of our names that are not ours.
    """
    found = catalogue(connection, dialect)
    if "kb_schema" not in found:
        ours = sorted(found.keys() & TABLES.keys())
        if ours:
            detail = f"it has tables named {', '.join(ours)} that koboshi has not made"
            raise ForeignStore(url.shown, detail, "give another database or schema")
        return 0
    if found["kb_schema"] != {"version"}:
        raise ForeignStore(
            url.shown,
            "it has a table named kb_schema that koboshi has not made",
            "give another database or schema",
        )
    return int(connection.exec_driver_sql("SELECT max(version) FROM kb_schema").scalar() or 0)


def prepare(connection: sa.Connection, dialect: Dialect, url: SqlURL, *, migrating: bool = False) -> int:
    """Make the tables if there are none; the version that was there.

    Args:
        migrating: bring older tables up to date instead of refusing them.

    Raises:
        StoreUnusable: something else is there, or tables of another version; nothing was changed.
    """
    version = schema_version(connection, dialect, url)
    _check_version(url, version, migrating=migrating)
    connection.rollback()
    if version == SCHEMA_VERSION:
        return version
    lock = dialect.lock(url)
    if lock is None:
        _migrate_in_a_race(connection, dialect, url, migrating=migrating)
        return version
    _send(connection, lock)
    try:
        _migrate(connection, dialect, url, migrating=migrating)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    finally:
        unlock = dialect.unlock()
        if unlock is not None and not connection.invalidated:
            _send(connection, unlock)
            connection.commit()
    return version


def _migrate_in_a_race(connection: sa.Connection, dialect: Dialect, url: SqlURL, *, migrating: bool) -> None:
    """Where nothing locks others out, two programs may fail because each makes what the other makes."""
    for attempt in range(_RACES):
        try:
            _migrate(connection, dialect, url, migrating=migrating)
            connection.commit()
        except DBAPIError as error:
            if error.connection_invalidated or attempt + 1 == _RACES:
                raise
            connection.rollback()
        else:
            return


def _send(connection: sa.Connection, statement: Statement) -> None:
    connection.exec_driver_sql(*statement)


def _check_version(url: SqlURL, version: int, *, migrating: bool) -> None:
    if version > SCHEMA_VERSION:
        found = f"its tables are of version {version}, and this koboshi knows {SCHEMA_VERSION}"
        raise WrongSchemaVersion(url.shown, found, "use the newer koboshi that wrote it")
    if 0 < version < SCHEMA_VERSION and not migrating:
        found = f"its tables are of version {version}, and this koboshi needs {SCHEMA_VERSION}"
        raise WrongSchemaVersion(url.shown, found, f"bring them up to date: koboshi db migrate {url.shown}")


def _migrate(connection: sa.Connection, dialect: Dialect, url: SqlURL, *, migrating: bool) -> None:
    version = schema_version(connection, dialect, url)  # again: another program may have been first
    _check_version(url, version, migrating=migrating or version == 0)
    connection.exec_driver_sql(dialect.create_schema)
    for number, tables in enumerate(MIGRATIONS[version:], version + 1):
        for table in tables:
            for statement in dialect.create(table):
                connection.exec_driver_sql(statement)
                if not dialect.transactional_ddl:
                    connection.commit()
        connection.exec_driver_sql(dialect.note_version(number))


def report(connection: sa.Connection, dialect: Dialect, url: SqlURL) -> StoreReport:
    """What is there; only reads."""
    version = schema_version(connection, dialect, url)
    found = catalogue(connection, dialect)
    return report_of(url.shown, version, found, connection.exec_driver_sql)
