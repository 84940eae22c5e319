"""What goes wrong with commands, as exceptions."""

from __future__ import annotations

import shlex

from .._errors import WorkerError
from .._exit import WorkerExit


class CommandError(WorkerError):
    """Base of what can go wrong with an external program; `command` is its name and arguments."""

    def __init__(self, text: str, command: tuple[str, ...]) -> None:
        super().__init__(text)
        self.command = command


class CommandNotFound(CommandError):
    """There is no such program, or it cannot be run."""

    def __init__(self, command: tuple[str, ...], problem: str) -> None:
        super().__init__(f"{command[0]!r} cannot be started: {problem}", command)
        self.problem = problem


class CommandFailed(CommandError):
    """The program ended, and not with code 0.

    Attributes:
        exit: its code, or the signal that ended it.
        tail: the last lines that it wrote, the oldest first.
    """

    def __init__(self, command: tuple[str, ...], exit: WorkerExit, tail: tuple[str, ...]) -> None:
        text = f"{show(command)} (pid {exit.pid}) {exit.describe()}"
        super().__init__(text + last_lines(tail), command)
        self.exit = exit
        self.tail = tail


class CommandStalled(CommandFailed):
    """The program was silent for too long and was killed; `stall_after` is in seconds."""

    def __init__(
        self, command: tuple[str, ...], exit: WorkerExit, tail: tuple[str, ...], stall_after: float
    ) -> None:
        super().__init__(command, exit, tail)
        self.stall_after = stall_after


class CommandNotReady(CommandError):
    """The program was not ready in time and was killed; `ready_timeout` is in seconds."""

    def __init__(
        self, command: tuple[str, ...], what: str, ready_timeout: float, tail: tuple[str, ...]
    ) -> None:
        text = f"{show(command)} was not ready within {ready_timeout:g} s: it was to have {what}"
        super().__init__(text + last_lines(tail), command)
        self.ready_timeout = ready_timeout
        self.tail = tail


class CommandInputClosed(CommandError):
    """The program's standard input is not open, or its buffer is full."""


def show(command: tuple[str, ...]) -> str:
    """How a command prints, cut to a line."""
    text = shlex.join(command).replace("\n", " ")
    return text if len(text) <= 80 else f"{text[:77]}..."


def last_lines(tail: tuple[str, ...]) -> str:
    """The end of an error's text that shows what the program wrote last."""
    return "; it wrote nothing" if not tail else "; its last lines:\n  " + "\n  ".join(tail)
