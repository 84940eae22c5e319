"""What process groups tell: to those who watch them, of their figures, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..._kernel._errors import KoboshiError
from ..._kernel._ref import ActorRef


@dataclass(frozen=True, slots=True)
class GroupMonitor:
    """One watch over a group or a scope; `demonitor` takes it back."""

    number: int


@dataclass(frozen=True, slots=True)
class Joined:
    """To those who watch: processes have joined. One that joined twice at once is there twice."""

    monitor: GroupMonitor
    group: Any
    refs: tuple[ActorRef[Any], ...]


@dataclass(frozen=True, slots=True)
class Left:
    """To those who watch: processes have left, or have ended, as often as they had joined."""

    monitor: GroupMonitor
    group: Any
    refs: tuple[ActorRef[Any], ...]


@dataclass(frozen=True, slots=True)
class GroupsStatistics:
    """A scope at one moment.

    Attributes:
        groups: groups with a living member.
        memberships: joins that were not left.
        processes: living members of anything.
        monitors: watches over groups and the scope.
        dropped: changes that a watcher's full mailbox refused.
    """

    groups: int
    memberships: int
    processes: int
    monitors: int
    dropped: int


class NotJoined(KoboshiError):
    """None of the processes that were to leave is a member of the group."""

    def __init__(self, group: object, refs: tuple[ActorRef[Any], ...] | None) -> None:
        who = "they are" if refs is None or len(refs) != 1 else f"{refs[0]!r} is"
        super().__init__(f"{who} not in the group {group!r}, so there is nothing to leave")
        self.group = group
        self.refs = refs

    _stay_behind = ("refs",)
