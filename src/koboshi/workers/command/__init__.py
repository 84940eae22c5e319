"""Commands: external programs as children of supervisors."""

from __future__ import annotations

from ._command import Command, CommandStatistics, command
from ._errors import (
    CommandError,
    CommandFailed,
    CommandInputClosed,
    CommandNotFound,
    CommandNotReady,
    CommandStalled,
)

__all__ = [
    "Command",
    "CommandError",
    "CommandFailed",
    "CommandInputClosed",
    "CommandNotFound",
    "CommandNotReady",
    "CommandStalled",
    "CommandStatistics",
    "command",
]
