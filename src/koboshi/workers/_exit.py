"""How a worker process ended, as a value."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

__all__ = ["WorkerDeath", "WorkerExit"]


@dataclass(frozen=True, slots=True, repr=False)
class WorkerExit:
    """The end of one worker process.

    Exactly one of `code` and `signal` is set, unless the status is unknown (both None).
    `detail` says more when the cause is ours: a deadline, a lost fork server. `peak_memory` is the most
    that was resident, in bytes; None when nobody could collect it. `last_lines` is the
    end of what a worker of a pool wrote to its standard error.
    """

    pid: int
    code: int | None = None
    signal: int | None = None
    detail: str = ""
    peak_memory: int | None = field(default=None, compare=False)
    last_lines: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_status(
        cls,
        pid: int,
        status: int | None,
        detail: str = "",
        peak_memory: int | None = None,
        last_lines: tuple[str, ...] = (),
    ) -> WorkerExit:
        """Build from a wait status, or from None when nobody could collect it."""
        if status is None:
            return cls(pid, detail=detail, last_lines=last_lines)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return cls(pid, code, None, detail, peak_memory, last_lines)
        return cls(pid, None, -code, detail, peak_memory, last_lines)

    @property
    def orderly(self) -> bool:
        """Whether the process ended by itself with code 0."""
        return self.code == 0

    @property
    def name(self) -> str:
        """Short and distinct: `SIGKILL`, `exit 3`, `unknown`."""
        if self.signal is not None:
            try:
                return signal.Signals(self.signal).name
            except ValueError:
                return f"signal {self.signal}"
        return "unknown" if self.code is None else f"exit {self.code}"

    def describe(self) -> str:
        """A clause for messages: `was killed by SIGKILL (its fork server died)`."""
        if self.signal is not None:
            text = f"was killed by {self.name}"
        elif self.code is not None:
            text = f"exited with code {self.code}"
        else:
            text = "ended with an unknown status"
        return f"{text} ({self.detail})" if self.detail else text

    def __repr__(self) -> str:
        return f"<WorkerExit {self.pid} {self.name}{f': {self.detail}' if self.detail else ''}>"

    def __str__(self) -> str:
        return f"worker {self.pid} {self.describe()}"


@dataclass(frozen=True, slots=True)
class WorkerDeath:
    """The end of a worker: how, and whether the first job without an outcome was running.

    Every job after that one was not touched. Of a worker with several jobs in hand `begun` has the
    numbers of those that were running, and no other was touched.
    """

    exit: WorkerExit
    running: bool
    begun: frozenset[int] = frozenset()
