"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path


def machine(otp: bool) -> dict[str, object]:
    """Facts that a figure means nothing without.

    Args:
        otp: Also ask `erl` for its version; it is None when there is no `erl`.
    """
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "otp": _otp_version() if otp else None,
        "filesystem": _filesystem(Path(tempfile.gettempdir()).resolve()),
        "load": os.getloadavg()[0],
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def _otp_version() -> str | None:
    erl = shutil.which("erl")
    if erl is None:
        return None
    ask = (
        'io:format("~s, erts ~s, ~p", [erlang:system_info(K) || K <- [otp_release, version, '
        "emu_flavor]]), halt()."
    )
    answer = subprocess.run(
        [erl, "-noinput", "-eval", ask],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return answer.stdout.strip() or None


def _filesystem(path: Path) -> str:
    """The type of the file system that temporary files, and so the stores, are on."""
    best, found = "", "unknown"
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, found = mount, kind
    return found
