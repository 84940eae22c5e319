"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from .application._application import Application
from .application._applications import (
    ApplicationEnded,
    ApplicationInfo,
    Applications,
    ApplicationsStatistics,
)
from .application._config import load_config
from .application._config_errors import ConfigError
from .application._errors import (
    ApplicationFailed,
    ApplicationInUse,
    ApplicationNotStarted,
    DependencyCycle,
    MissingDependency,
)
from .application._secret import Secret

__all__ = [
    "Application",
    "ApplicationEnded",
    "ApplicationFailed",
    "ApplicationInUse",
    "ApplicationInfo",
    "ApplicationNotStarted",
    "Applications",
    "ApplicationsStatistics",
    "ConfigError",
    "DependencyCycle",
    "MissingDependency",
    "Secret",
    "load_config",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
