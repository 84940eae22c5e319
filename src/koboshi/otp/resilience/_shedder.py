"""`LoadShedder`: refuse at once what would be late anyway."""

from __future__ import annotations

from dataclasses import dataclass

from ..._kernel._errors import UsageError
from ..._kernel._node import this_node
from ..._supervision._options import seconds, whole
from ._gate import Gate, patience
from ._refusals import Overloaded


class Estimate:
    """How long a newcomer takes, from the calls before it. Pure: the clock is passed in.

    Args:
        servers: calls that are worked on at the same time.
        smoothing: the weight of the newest service time in the average, above 0 and up to 1.
    """

    def __init__(self, servers: int, smoothing: float) -> None:
        self.servers = servers
        self.smoothing = smoothing
        self.pending = 0
        self.service: float | None = None
        # When a call was last done; None when one was given up since, and nobody knows until when it was
        # worked on.
        self._last_done: float | None = 0.0

    def seconds(self) -> float:
        """Until a newcomer would have its result: the wait for those before it, and its own time."""
        ahead = max(0, self.pending - self.servers + 1)
        return (self.service or 0.0) * (1 + ahead / self.servers)

    def begin(self, now: float) -> tuple[float, bool]:
        """A call is let in."""
        ticket = now, self.pending >= self.servers
        self.pending += 1
        return ticket

    def end(self, ticket: tuple[float, bool], now: float) -> None:
        """A call is done."""
        began, queued = ticket
        self.pending -= 1
        # Of one that had to wait the service began when the one before it was done, not when it came.
        # With several servers the time between two ends is a service time's share.
        last, self._last_done = self._last_done, now
        if not queued:
            took = now - began
        elif last is not None:
            took = (now - max(began, last)) * self.servers
        else:
            return
        old = took if self.service is None else self.service
        self.service = old + self.smoothing * (took - old)

    def abandon(self) -> None:
        """A call was given up: its time says nothing about a service, nor does that of one that waited for it."""
        self.pending -= 1
        self._last_done = None


@dataclass(frozen=True, slots=True)
class ShedderStatistics:
    """A load shedder at one moment.

    `service` is the average service time in seconds, 0 before the first call is done; `estimate` what a
    newcomer would take.
    """

    pending: int
    service: float
    estimate: float
    passed: int
    shed: int


class LoadShedder(Gate):
    """Refuses a call when it would not be done by its caller's deadline, as far as can be told.

    The deadline is that of the message in hand (`kb.time_left`), or `within`, whichever is sooner; with
    neither nothing is refused. When nothing else is under way, a call is always let through: so the
    estimate gets to know of better times.

    Args:
        name: what events and errors call it.
        servers: calls that the service works on at the same time; 1, as an actor does.
        within: seconds that a call may take.
        smoothing: the weight of the newest service time in the moving average; 0.2.

    Raises:
        UsageError: an option has no such value.
    """

    def __init__(
        self, name: str = "shedder", *, servers: int = 1, within: float | None = None, smoothing: float = 0.2
    ) -> None:
        super().__init__(name)
        seconds("within", within, none=True)
        if not 0 < smoothing <= 1:
            raise UsageError(f"smoothing takes a number above 0 and up to 1, got {smoothing!r}")
        self._within = within
        self._estimate = Estimate(whole("servers", servers, 1), smoothing)
        self._count = self._shed = 0

    async def _enter(self) -> tuple[float, bool]:
        estimate = self._estimate
        left = patience(self._within)
        expected = estimate.seconds()
        if left is not None and expected > left and estimate.pending:
            self._shed += 1
            raise self._refuse(
                Overloaded(self.name, f"it would take {expected:.3g} s and has {left:.3g} s", expected - left)
            )
        self._count += 1
        self._passed()
        return estimate.begin(this_node().loop.time())

    def _leave(self, ticket: tuple[float, bool], error: BaseException | None) -> None:
        if error is None:
            self._estimate.end(ticket, this_node().loop.time())
        else:
            self._estimate.abandon()

    def statistics(self) -> ShedderStatistics:
        """The shedder's figures now."""
        estimate = self._estimate
        return ShedderStatistics(
            estimate.pending, estimate.service or 0.0, estimate.seconds(), self._count, self._shed
        )

    def __repr__(self) -> str:
        return f"<LoadShedder {self.name} {self._estimate.pending} pending>"
