"""What a pool of runners keeps: its runners that are up, and what each of them has to do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ..._kernel._bonds import Monitor
from ..._kernel._ref import ActorRef
from ..._kernel._reply import ReplyTo
from ..._supervision._child import Child
from ._code import CodeRef
from ._decide import Load
from ._runner import Runner


@dataclass(frozen=True, slots=True)
class FlameStatistics:
    """A pool of runners at one moment.

    Attributes:
        runners: that are up, `booting`: that are being started.
        queued: functions that wait for a runner, `running`: that one has.
        placed: actors that live on runners.
        done, failed, lost: functions that returned, that raised, that died with their runner.
        started, retired: runners started so far, and ended for want of work.
    """

    runners: int
    booting: int
    queued: int
    running: int
    placed: int
    done: int
    failed: int
    lost: int
    started: int
    retired: int


@dataclass(slots=True, eq=False)
class Job:
    """One function on its way, or the wish for a place for an actor, which has no code."""

    number: int
    code: CodeRef | None
    packed: bytes
    timeout: float | None
    # None when nobody waits for the outcome.
    reply: ReplyTo[Any] | None
    began: bool = False
    # Of a place: what watches the process that is starting an actor on it.
    holder: Monitor | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """How it prints."""
        return "place_child" if self.code is None else self.code.name

    def settle(self) -> None:
        """Nothing is waited for any more but its end."""
        if self.timer is not None:
            self.timer.cancel()
        if self.holder is not None:
            self.holder.cancel()

    @property
    def wanted(self) -> bool:
        """Whether it is to be done at all: its caller has not given up."""
        return self.reply is None or self.reply.wanted


@dataclass(slots=True, eq=False)
class Seat:
    """One runner that is up."""

    id: int
    ref: ActorRef[Runner]
    child: Child
    idle_since: float | None
    jobs: dict[int, Job] = field(default_factory=dict[int, Job])
    # Actors that live on it, or are about to: by what watches them.
    placed: set[Monitor] = field(default_factory=set[Monitor])

    @property
    def load(self) -> Load:
        """What `_decide` needs to know of it."""
        return Load(self.id, len(self.jobs) + len(self.placed), self.idle_since)
