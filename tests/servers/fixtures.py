"""Fixtures for tests that need a server: of a database, one for the whole run, or one that forks workers."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fork_server import fork_server, lasting_fork_server
from .mariadb import MariadbServer, program
from .postgres import PostgresServer

__all__ = [
    "fork_server",
    "lasting_fork_server",
    "mariadb_server",
    "mariadb_url",
    "postgres_server",
    "postgres_url",
    "spare_mariadb",
    "spare_postgres",
]

_numbers = itertools.count(1)


def server_folder() -> Iterator[Path]:
    """A folder that a server's own user can get into, unlike the one of `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="koboshi-server-"))
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def postgres_servers() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs."""
    for folder in server_folder():
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs until the end of the run."""
    yield from postgres_servers()


@pytest.fixture
def spare_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for a test that kills it."""
    yield from postgres_servers()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"test{next(_numbers)}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")


def mariadb_servers() -> Iterator[MariadbServer]:
    """A MariaDB that runs, if its programs are installed."""
    if program("mariadbd") is None:
        pytest.skip("NOT TESTED: MariaDB is not installed; run `apt-get install mariadb-server`")
    for folder in server_folder():
        server = MariadbServer(folder / "mariadb")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariadbServer]:
    """A MariaDB that runs until the end of the run."""
    yield from mariadb_servers()


@pytest.fixture
def spare_mariadb() -> Iterator[MariadbServer]:
    """A MariaDB for a test that kills it."""
    yield from mariadb_servers()


@pytest.fixture
def mariadb_url(mariadb_server: MariadbServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"test{next(_numbers)}"
    mariadb_server.sql(f"CREATE DATABASE {name}")
    yield mariadb_server.url(name)
    mariadb_server.sql(f"DROP DATABASE {name}")
