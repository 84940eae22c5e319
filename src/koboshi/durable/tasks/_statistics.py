"""`QueueStatistics`: how a queue stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..stores import Session
from . import _look
from ._live import Live
from ._peek import is_paused

__all__ = ["QueueStatistics", "statistics_of"]


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A queue at one moment: its tasks in all programs, and what this program did since its child started.

    Attributes:
        waiting: ready, and for their time.
        claimed: in the hands of programs.
        running_here: those of them in this one's.
        done_here, retried_here, interrupted_here, died_here: attempts of this one, by what they came to.
    """

    waiting: int
    claimed: int
    done: int
    dead: int
    cancelled: int
    paused: bool
    running_here: int = 0
    done_here: int = 0
    retried_here: int = 0
    interrupted_here: int = 0
    died_here: int = 0


async def statistics_of(live: Live, queue: str) -> QueueStatistics:
    """How it stands, in all programs, and what this one did."""

    def read(session: Session) -> tuple[dict[str, int], bool]:
        return _look.count(session, queue), is_paused(session, queue)

    counts, paused = await live.store.read(read)
    found = QueueStatistics(
        waiting=counts.get("ready", 0) + counts.get("later", 0),
        claimed=counts.get("claimed", 0),
        done=counts.get("done", 0),
        dead=counts.get("dead", 0),
        cancelled=counts.get("cancelled", 0),
        paused=paused,
    )
    flow = live.flow
    if flow is None:
        return found
    return replace(
        found,
        running_here=len(flow.held),
        done_here=flow.done,
        retried_here=flow.failed,
        interrupted_here=flow.interrupted,
        died_here=flow.died,
    )
