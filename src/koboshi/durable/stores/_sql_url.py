"""The URL of a server: which family it is, what it takes to reach it, and how it may be shown.

Imports nothing that is not there in the base install, so that a missing extra can be named.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from ..._kernel._errors import UsageError
from .._failures import ExtraNeeded

__all__ = ["SERVERS", "SqlURL", "check_extra", "parse_url", "shown"]

# Seconds in which a server has found a deadlock by itself.
_ENOUGH = 2.0
_PARTS = re.compile(r"([a-z]+)(?:\+(\w+))?://(?:([^:/@]*)(?::([^@]*))?@)?([^?]*)(?:\?(.*))?", re.S)


@dataclass(frozen=True)
class Server:
    """A family of servers: its driver, the extra that brings it, and the modules of that."""

    driver: str
    extra: str
    modules: tuple[str, ...]


SERVERS = {
    "postgresql": Server("asyncpg", "postgres", ("sqlalchemy", "greenlet", "asyncpg")),
    "cockroachdb": Server(
        "asyncpg", "cockroach", ("sqlalchemy", "greenlet", "asyncpg", "sqlalchemy_cockroachdb")
    ),
    "mysql": Server("asyncmy", "mysql", ("sqlalchemy", "greenlet", "asyncmy")),
    "mariadb": Server("asyncmy", "mysql", ("sqlalchemy", "greenlet", "asyncmy")),
    "mssql": Server("mssqlpython", "mssql", ("sqlalchemy", "mssql_python")),
}


@dataclass(frozen=True)
class SqlURL:
    """What a URL of a server says.

    Attributes:
        address: the URL as SQLAlchemy takes it, with the password and without our own options.
        connect_timeout: seconds to wait for a connection (default 5.0).
        statement_timeout: seconds to wait for one statement, locks and COMMIT included (default 10.0).
    """

    family: str
    shown: str
    address: str = field(repr=False)
    connect_timeout: float = 5.0
    statement_timeout: float = 10.0

    @property
    def lock_timeout(self) -> float:
        """Seconds to wait for a lock: less than a statement's, since all that the program does waits as well."""
        return max(self.statement_timeout / 4, min(_ENOUGH, self.statement_timeout / 2))


def shown(url: str) -> str:
    """A URL without its password and its options, whatever it looks like otherwise."""
    scheme, mark, rest = url.partition("://")
    # The last @, because somebody may have written one into the password.
    login, at, place = rest.partition("?")[0].rpartition("@")
    if not at and "@" in rest:
        return f"{scheme}{mark}***"
    user, colon, _ = login.partition(":")
    return f"{scheme}{mark}{user}{colon and ':***'}{at}{place}"


def parse_url(url: str) -> SqlURL:
    """Take a URL apart.

    Raises:
        UsageError: its driver or an option is wrong.
    """
    found = _PARTS.fullmatch(url)
    if found is None or "@" in found[5]:
        raise UsageError(
            f"store {shown(url)!r} is no URL; write @, : and / in a password as %40, %3A and %2F"
        )
    family, driver, options = found[1], found[2], dict(parse_qsl(found[6] or ""))
    server = SERVERS[family]
    if driver not in (None, server.driver):
        raise UsageError(
            f"store {shown(url)!r} names the driver {driver!r}; koboshi uses {family}+{server.driver}://"
        )
    scheme, rest = f"{family}+{server.driver}", url.partition("://")[2].partition("?")[0]
    waits = {
        name: _seconds(url, name, options.pop(name))
        for name in ("connect_timeout", "statement_timeout")
        if name in options
    }
    address = f"{scheme}://{rest}" + (f"?{urlencode(options)}" if options else "")
    return SqlURL(family, shown(url), address, **waits)


def _seconds(url: str, name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < 86_400.0:
        raise UsageError(f"{name} of the store {shown(url)!r} takes seconds above 0, got {text!r}")
    return seconds


def check_extra(url: SqlURL) -> None:
    """Raise `ExtraNeeded` unless the client of the database is installed; it is not loaded."""
    server = SERVERS[url.family]
    missing = [name for name in server.modules if importlib.util.find_spec(name) is None]
    if missing:
        found = f"{' and '.join(missing)} cannot be imported"
        raise ExtraNeeded(url.shown, found, f'run: pip install "koboshi[{server.extra}]"')
