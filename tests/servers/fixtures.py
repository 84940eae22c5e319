"""Fixtures for tests that need a database server: one server for the whole run, a database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .postgres import PostgresServer

__all__ = ["postgres_server", "postgres_url"]

_numbers = itertools.count(1)


def server_folder() -> Iterator[Path]:
    """A folder that a server's own user can get into, unlike the one of `tmp_path`."""
    folder = Path(tempfile.mkdtemp(prefix="koboshi-server-"))
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that runs until the end of the run; a test that kills it starts it again."""
    for folder in server_folder():
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"test{next(_numbers)}"
    postgres_server.sql(f"CREATE DATABASE {name}")
    yield postgres_server.url(name)
    postgres_server.sql(f"DROP DATABASE {name} WITH (FORCE)")
