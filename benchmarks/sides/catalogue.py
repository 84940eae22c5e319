"""Every side: how one of its processes is started, and whether it can be."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

OTP_SOURCES = Path(__file__).parent / "otp"
ELIXIR_SOURCE = Path(__file__).parent / "elixir_side.exs"
COMPILE_SECONDS = 60.0
ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".run" / "sides"
APART = {"dbos": "dbos==3.4.0", "eventsourcing": "eventsourcing==9.5.6"}
"""Sides with an environment of their own, and what is installed in it."""


@dataclass(frozen=True)
class Side:
    """A way to do the rows.

    Attributes:
        absent: What this machine lacks for it, or None. An absent side is skipped.
        broken: Why it does not work although everything is there, or None. It is a failure.
        variants: The command of each way to run it, to which row, size and seconds are
            added; the best figure counts.
    """

    name: str
    absent: str | None = None
    broken: str | None = None
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def _python(name: str, needs: str | None = None) -> Side:
    if needs is not None and importlib.util.find_spec(needs) is None:
        return Side(name, absent=f"the package {needs} is not installed")
    return Side(name, variants={"": (sys.executable, "-m", f"sides.{name}_side")})


def _apart(name: str) -> Side:
    """A side whose package has an environment of its own, because it is no part of the development install."""
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        return Side(name, absent=f"the package {APART[name]} is not installed; --install does it")
    return Side(name, variants={"": (str(python), "-m", f"sides.{name}_side")})


def install(names: Set[str]) -> None:
    """Make the environments of those sides that have one of their own; those that are there are left.

    Raises:
        subprocess.CalledProcessError: there is no package index, say; its output was shown.
    """
    for name in names & APART.keys():
        if not (ENVIRONMENTS / name).exists():
            half = ENVIRONMENTS / f"{name}.half"
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(half)], check=True)
            subprocess.run([half / "bin" / "python", "-m", "pip", "install", "-q", APART[name]], check=True)
            # Complete or not there at all. Nothing that `python -m` runs depends on where it was installed.
            half.rename(ENVIRONMENTS / name)


def _otp(beams: Path) -> Side:
    erl, erlc = shutil.which("erl"), shutil.which("erlc")
    if erl is None or erlc is None:
        missing = "erl" if erl is None else "erlc"
        return Side("otp", absent=f"{missing} is not on the PATH")
    sources = sorted(map(str, OTP_SOURCES.glob("*.erl")))
    compiled = subprocess.run(
        [erlc, "-o", str(beams), *sources],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMPILE_SECONDS,
    )
    if compiled.returncode != 0:
        return Side("otp", broken=f"erlc: {compiled.stdout.strip()}")
    run = ("-noinput", "-pa", str(beams), "-run", "bench_side", "main")
    return Side("otp", variants={"+S 1": (erl, "+S", "1", *run), "default": (erl, *run)})


def _elixir() -> Side:
    elixir = shutil.which("elixir")
    if elixir is None:
        return Side("elixir", absent="elixir is not on the PATH")
    run = (str(ELIXIR_SOURCE),)
    return Side("elixir", variants={"+S 1": (elixir, "--erl", "+S 1", *run), "default": (elixir, *run)})


_SIDES: Mapping[str, Callable[[], Side]] = {
    "koboshi": lambda: _python("koboshi"),
    "asyncio": lambda: _python("asyncio"),
    "pykka": lambda: _python("pykka", needs="pykka"),
    "mp_pool": lambda: _python("mp_pool"),
    "process_pool_executor": lambda: _python("process_pool_executor"),
    "loky": lambda: _python("loky", needs="loky"),
    "xoscar": lambda: _python("xoscar", needs="xoscar"),
    "ray": lambda: _python("ray", needs="ray"),
    "eventsourcing": lambda: _apart("eventsourcing"),
    "dbos": lambda: _apart("dbos"),
    "limit": lambda: _python("limit"),
    "sqlite": lambda: _python("sqlite"),
    "elixir": _elixir,
}

NAMES = (*_SIDES, "otp")


@contextmanager
def open_sides(names: Set[str]) -> Generator[Mapping[str, Side], None, None]:
    """The named sides, ready to run; OTP's compiled modules exist while this is open."""
    with TemporaryDirectory(prefix="koboshi-bench-") as beams:
        sides = {name: make() for name, make in _SIDES.items() if name in names}
        if "otp" in names:
            sides["otp"] = _otp(Path(beams))
        yield sides
