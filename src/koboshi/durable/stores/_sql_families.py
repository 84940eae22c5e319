"""From the family of a URL to its dialect."""

from __future__ import annotations

from ._sql_dialect import Dialect
from ._sql_postgres import CockroachDialect, PostgresDialect
from ._sql_url import SqlURL

__all__ = ["dialect_of"]

_DIALECTS: dict[str, type[Dialect]] = {
    "postgresql": PostgresDialect,
    "cockroachdb": CockroachDialect,
}


def dialect_of(url: SqlURL) -> Dialect:
    """A dialect for one engine; it may learn from the server what it is."""
    return _DIALECTS[url.family]()
