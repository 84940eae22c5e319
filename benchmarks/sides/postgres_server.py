"""A PostgreSQL for one process of a side, with fsync as it is by default."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.postgres import PostgresServer

SETTINGS = {"shared_buffers": "128MB", "log_min_messages": "warning"}


@contextmanager
def postgres_url() -> Generator[str, None, None]:
    """The URL of an empty database of a new server."""
    with tempfile.TemporaryDirectory(prefix="koboshi-bench-") as folder:
        # PostgreSQL does not run as root, and its own user must get in.
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder, "postgres"), SETTINGS)
        server.start()
        try:
            yield server.url("postgres")
        finally:
            server.stop()
