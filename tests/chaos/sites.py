"""The store under a run, from below: rows that are damaged, images that are put back, a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import asyncpg  # type: ignore[import-untyped]
from tests.servers.mariadb import MariadbServer, program
from tests.servers.postgres import PostgresServer

from koboshi.durable.stores._tables import TABLES

__all__ = ["MariadbSite", "PostgresSite", "Site", "SqliteSite", "open_site"]

DISK = 24 << 20
_STATE = "SELECT state FROM kb_actor WHERE actor_key = "
_NAMES = tuple(TABLES)
# Ends all other connections to the database and waits for each; whether there were none.
_OTHERS = "SELECT id FROM information_schema.processlist WHERE db = 'chaos'"
_ALONE = """
SELECT count(pg_terminate_backend(pid, 5000)) = 0 FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Site(Protocol):
    """All hosts are down while it is asked for anything but `fill`, `empty` and the server's death."""

    url: str
    can: frozenset[str]

    async def state(self, key: str) -> bytes | None:
        """The stored state of an account."""
        ...

    async def put_state(self, key: str, state: bytes) -> None:
        """Store another one."""
        ...

    async def take_image(self) -> None:
        """Remember everything as it is."""
        ...

    async def put_image(self) -> None:
        """Have everything as it was remembered."""
        ...

    async def break_down(self) -> None:
        """Fill the disk, or kill the server."""
        ...

    async def mend(self) -> None:
        """Undo that."""
        ...


class SqliteSite:
    """A file; with `disk`, on a small disk of its own, which only root can make."""

    def __init__(self, path: Path, image: Path, *, disk: bool) -> None:
        self.url = f"sqlite:///{path}"
        self.can = frozenset({"disk_full"}) if disk else frozenset()
        self._path = path
        self._image = image

    async def state(self, key: str) -> bytes | None:
        """See `Site.state`."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            found = connection.execute(_STATE + "?", (key,)).fetchone()
        return None if found is None else found[0]

    async def put_state(self, key: str, state: bytes) -> None:
        """See `Site.put_state`."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("UPDATE kb_actor SET state = ? WHERE actor_key = ?", (state, key))

    async def take_image(self) -> None:
        """See `Site.take_image`."""
        _copy(self._path, self._image)

    async def put_image(self) -> None:
        """See `Site.put_image`."""
        _copy(self._image, self._path)

    async def break_down(self) -> None:
        """Fill the disk to the last byte."""
        await asyncio.to_thread(_fill, self._path.with_name("filler"))

    async def mend(self) -> None:
        """Make room."""
        self._path.with_name("filler").unlink(missing_ok=True)


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as filler:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    filler.write(b"\0" * size)


def _copy(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


class PostgresSite:
    """A database of a PostgreSQL; `server` is given where it is ours to kill."""

    def __init__(self, url: str, server: PostgresServer | None) -> None:
        self.url = url
        self.can = frozenset({"server_killed"}) if server is not None else frozenset()
        self._server = server
        self._plain = url.replace("postgresql+asyncpg", "postgresql")

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self._plain)
        try:
            # A host that was killed may have sent a COMMIT just before, which its backend has yet to do.
            while not await connection.fetchval(_ALONE):
                pass
            yield connection
        finally:
            await connection.close()

    async def state(self, key: str) -> bytes | None:
        """See `Site.state`."""
        async with self._connected() as connection:
            found: bytes | None = await connection.fetchval(_STATE + "$1", key)
            return found

    async def put_state(self, key: str, state: bytes) -> None:
        """See `Site.put_state`."""
        async with self._connected() as connection:
            await connection.execute("UPDATE kb_actor SET state = $1 WHERE actor_key = $2", state, key)

    async def take_image(self) -> None:
        """See `Site.take_image`."""
        async with self._connected() as connection, connection.transaction():
            await connection.execute("DROP SCHEMA IF EXISTS chaos_image CASCADE; CREATE SCHEMA chaos_image")
            for name in _NAMES:
                await connection.execute(f"CREATE TABLE chaos_image.{name} AS TABLE {name}")

    async def put_image(self) -> None:
        """See `Site.put_image`."""
        async with self._connected() as connection, connection.transaction():
            for name in _NAMES:
                await connection.execute(f"DELETE FROM {name}")
                await connection.execute(f"INSERT INTO {name} SELECT * FROM chaos_image.{name}")

    async def break_down(self) -> None:
        """Kill the server with all its processes."""
        assert self._server is not None
        await asyncio.to_thread(self._server.kill)

    async def mend(self) -> None:
        """Start it again."""
        assert self._server is not None
        await asyncio.to_thread(self._server.start)


class MariadbSite:
    """A database of a MariaDB that is ours to kill."""

    can = frozenset({"server_killed"})

    def __init__(self, server: MariadbServer) -> None:
        self.url = server.url("chaos")
        self._server = server

    async def _do(self, *statements: str) -> str:
        """Run statements with nobody else there; what they print."""

        def do() -> str:
            # A host that was killed may have sent a COMMIT just before, which its connection has yet to do.
            while others := self._server.sql(_OTHERS).split():
                for each in others:
                    with contextlib.suppress(subprocess.CalledProcessError):  # it has ended meanwhile
                        self._server.sql(f"KILL {each}")
            return self._server.sql("; ".join(("USE chaos", *statements)))

        return await asyncio.to_thread(do)

    async def state(self, key: str) -> bytes | None:
        """See `Site.state`."""
        found = await self._do(
            f"SELECT HEX(state) FROM kb_actor WHERE actor_key = '{key}' AND state IS NOT NULL"
        )
        return bytes.fromhex(found) if found else None

    async def put_state(self, key: str, state: bytes) -> None:
        """See `Site.put_state`."""
        await self._do(f"UPDATE kb_actor SET state = X'{state.hex()}' WHERE actor_key = '{key}'")

    async def take_image(self) -> None:
        """See `Site.take_image`."""
        copies = [f"CREATE TABLE chaos_image.{name} AS SELECT * FROM {name}" for name in _NAMES]
        await self._do("CREATE OR REPLACE DATABASE chaos_image", *copies)

    async def put_image(self) -> None:
        """See `Site.put_image`."""
        copies = [
            f"DELETE FROM {name}; INSERT INTO {name} SELECT * FROM chaos_image.{name}" for name in _NAMES
        ]
        await self._do("START TRANSACTION", *copies, "COMMIT")

    async def break_down(self) -> None:
        """Kill the server."""
        await asyncio.to_thread(self._server.kill)

    async def mend(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._server.start)


@contextlib.asynccontextmanager
async def open_site(store: str) -> AsyncIterator[Site]:
    """The store that is named: "" for a SQLite file of our own, "postgresql" or "mariadb" for a server, or a URL.

    What is there already is never hurt: a file must be new.
    """
    if store.startswith("postgresql") and "://" in store:
        yield PostgresSite(store, None)
        return
    named = Path(store.removeprefix("sqlite:///")) if store.startswith("sqlite:///") else None
    if named is not None and (named.exists() or not named.parent.is_dir()):
        raise SystemExit(
            f"chaos: --store needs a new file in a folder that is there, to be damaged; got {store!r}"
        )
    folder = Path(tempfile.mkdtemp(prefix="koboshi-chaos-"))
    os.chmod(folder, 0o755)
    try:
        if store == "postgresql":
            server = PostgresServer(folder / "postgres")
            server.start()
            try:
                server.sql("CREATE DATABASE chaos")
                yield PostgresSite(server.url("chaos"), server)
            finally:
                server.stop()
        elif store == "mariadb":
            async with _mariadb(folder) as ours:
                yield ours
        elif named is not None:
            yield SqliteSite(named.resolve(), folder / "image.db", disk=False)
        elif store:
            raise SystemExit(
                'chaos: --store takes "postgresql", "mariadb", postgresql+asyncpg://... or sqlite:///..., '
                f"got {store!r}"
            )
        else:
            async with _sqlite(folder) as site:
                yield site
    finally:
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def _mariadb(folder: Path) -> AsyncIterator[MariadbSite]:
    if program("mariadbd") is None:
        raise SystemExit("chaos: --store mariadb needs MariaDB; run `apt-get install mariadb-server`")
    server = MariadbServer(folder / "mariadb")
    server.start()
    try:
        server.sql("CREATE DATABASE chaos")
        yield MariadbSite(server)
    finally:
        server.stop()


@contextlib.asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Site]:
    disk = folder / "disk"
    disk.mkdir()
    has_disk = os.geteuid() == 0 and not _run(
        "mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)
    )
    try:
        yield SqliteSite(disk / "chaos.db", folder / "image.db", disk=has_disk)
    finally:
        if has_disk:
            _run("umount", "-l", str(disk))


def _run(*command: str) -> int:
    return subprocess.run(command, capture_output=True).returncode
