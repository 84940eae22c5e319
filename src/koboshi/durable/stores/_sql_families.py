"""From the family of a URL to its dialect."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ._sql_dialect import Dialect
from ._sql_mysql import MySqlDialect
from ._sql_postgres import CockroachDialect, PostgresDialect
from ._sql_server import SqlServerDialect
from ._sql_url import SqlURL

__all__ = ["dialect_of"]

_DIALECTS: dict[str, Callable[[], Dialect]] = {
    "postgresql": PostgresDialect,
    "cockroachdb": CockroachDialect,
    "mysql": functools.partial(MySqlDialect, mariadb=False),
    "mariadb": functools.partial(MySqlDialect, mariadb=True),
    "mssql": SqlServerDialect,
}


def dialect_of(url: SqlURL) -> Dialect:
    """A dialect for one engine."""
    return _DIALECTS[url.family]()
