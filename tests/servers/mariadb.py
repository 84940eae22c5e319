"""A private MariaDB in a folder of its own, from the programs that are installed on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from pathlib import Path

from .process import ServerProcess, free_port

__all__ = ["MariadbServer", "program"]

SETTINGS = {
    "innodb_buffer_pool_size": "64M",
    # A COMMIT survives the death of the server, and not a power cut.
    "innodb_flush_log_at_trx_commit": "2",
    "innodb_log_file_size": "16M",
    "max_connections": "40",
    "skip_name_resolve": "1",
}


def program(name: str) -> str | None:
    """Where a program of MariaDB is; Debian has the server where only root looks."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


class MariadbServer:
    """One server; it can be killed and started again."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._settings = SETTINGS if settings is None else settings
        self._process: ServerProcess | None = None
        folder.mkdir(mode=0o755)
        install = program("mariadb-install-db")
        assert install is not None, "mariadb-server is not installed"
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                f"--user={getpass.getuser()}",
                *options,
            ],
            check=True,
            capture_output=True,
        )

    def url(self, database: str, port: int | None = None) -> str:
        """The URL of one of its databases."""
        return f"mariadb+asyncmy://root@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        server = program("mariadbd")
        assert server is not None
        settings = {
            "datadir": str(self.folder / "data"),
            "socket": str(self.folder / "socket"),
            "pid-file": str(self.folder / "pid"),
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "user": getpass.getuser(),
            **self._settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        self._process = ServerProcess([server, "--no-defaults", *options], self.folder, None)
        self._process.wait_until(self._answers)

    def _answers(self) -> bool:
        admin = program("mariadb-admin")
        assert admin is not None
        command = [admin, "--no-defaults", "-u", "root", f"--socket={self.folder / 'socket'}", "ping"]
        return subprocess.run(command, capture_output=True).returncode == 0

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.stop(signal.SIGTERM)
            self._process = None

    def sql(self, text: str) -> str:
        """Run statements as root; what they print."""
        client = program("mariadb")
        assert client is not None
        command = [
            client,
            "--no-defaults",
            "-u",
            "root",
            f"--socket={self.folder / 'socket'}",
            "-N",
            "-e",
            text,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
