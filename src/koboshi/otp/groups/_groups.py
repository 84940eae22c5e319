"""`Groups`: the actor that keeps one scope of process groups and decides the order of its changes."""

from __future__ import annotations

from typing import Any

from ..._kernel import _bonds
from ..._kernel._bonds import Monitor
from ..._kernel._cell import DEAD, Cell
from ..._kernel._message import message
from ..._kernel._reasons import Down
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed
from .._answering import Answering
from .._deliver import deliver
from ._messages import GroupMonitor, GroupsStatistics, Joined, Left, NotJoined

Refs = tuple[ActorRef[Any], ...]


class Groups(Answering):
    """One scope of named groups of processes: `kb.child(otp.Groups).options(name="workers")`.

    Processes use it through the handle that `otp.groups` gives. A process may join a group several times and
    is a member until it has left as often. Members are not linked to the scope; one that is restarted has
    forgotten them, and they join again when they see its end.
    """

    def __init__(self) -> None:
        # How often each process has joined, in the order of the first time.
        self._members: dict[Any, dict[Cell, int]] = {}
        # The groups of each member, and the watch over it.
        self._joined: dict[Cell, tuple[dict[Any, None], Monitor]] = {}
        # Who watches: the process, whether one group only, which, and the watch over the watcher.
        self._watchers: dict[GroupMonitor, tuple[Cell, bool, Any, Monitor]] = {}
        self._last_number = 0
        self._dropped = 0

    def on_down(self, down: Down, /) -> None:
        cell = down.target._target()
        self._forget(cell)
        for number, (watcher, _, _, watch) in tuple(self._watchers.items()):
            if watcher is cell and watch is down.monitor:
                del self._watchers[number]

    def format_status(self) -> object:
        return {"groups": len(self._members), "processes": len(self._joined)}

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        where = "not started" if cell is None else cell.label()
        return f"<{type(self).__qualname__} {where}, {len(self._members)} groups>"

    # -- inside ----------------------------------------------------------------------------------------

    def _forget(self, cell: Cell) -> None:
        """A member has ended: it leaves everything, as often as it had joined."""
        held = self._joined.pop(cell, None)
        if held is None:
            return
        held[1].cancel()
        for group in held[0]:
            ref: ActorRef[Any] = ActorRef(cell)
            self._tell(Left, group, (ref,) * self._remove(group, cell))

    def _remove(self, group: Any, cell: Cell) -> int:
        members = self._members[group]
        times = members.pop(cell)
        if not members:
            del self._members[group]
        return times

    def _forget_dead(self) -> None:
        """Bring forward what `Down` messages on their way will say, so that no snapshot has the dead."""
        for cell in [each for each in self._joined if each.state == DEAD]:
            self._forget(cell)

    def _tell(self, kind: type[Joined | Left], group: Any, refs: Refs) -> None:
        for number, (watcher, of_one, watched, _) in tuple(self._watchers.items()):
            if (not of_one or watched == group) and not deliver(watcher, kind(number, group, refs)):
                self._dropped += 1

    def _watch(self, watcher: ActorRef[Any], of_one: bool, group: Any) -> GroupMonitor:
        cell = watcher._target()
        self._last_number += 1
        number = GroupMonitor(self._last_number)
        self._watchers[number] = (cell, of_one, group, _bonds.monitor(self._kb_cell, cell, watcher))
        return number

    # -- requests: from other nodes they are messages, on this loop they are called as they are ----------

    @message
    def join(self, group: Any, refs: Refs) -> None:
        """Add processes, each as often as it is named."""
        hashed("a group", group)
        came = [ref for ref in refs if ref._target().state != DEAD]
        for ref in came:
            cell = ref._target()
            held = self._joined.get(cell)
            if held is None:
                held = self._joined[cell] = ({}, _bonds.monitor(self._kb_cell, cell, ref))
            held[0][group] = None
            members = self._members.setdefault(group, {})
            members[cell] = members.get(cell, 0) + 1
        if came:
            self._tell(Joined, group, tuple(came))

    @message
    def leave(self, group: Any, refs: Refs) -> None:
        """Take processes out, each once for each time that it is named. Raises `NotJoined` if none was in."""
        hashed("a group", group)
        left: list[ActorRef[Any]] = []
        for ref in refs:
            cell = ref._target()
            members = self._members.get(group, {})
            if cell not in members:
                continue
            left.append(ref)
            if members[cell] > 1:
                members[cell] -= 1
                continue
            self._remove(group, cell)
            groups, watch = self._joined[cell]
            del groups[group]
            if not groups:
                del self._joined[cell]
                watch.cancel()
        if not left:
            raise NotJoined(group, refs)
        self._tell(Left, group, tuple(left))

    @message
    def members(self, group: Any) -> list[ActorRef[Any]]:
        """The living members, each as often as it has joined."""
        hashed("a group", group)
        held = self._members.get(group, {})
        return [ActorRef(cell) for cell, times in held.items() if cell.state != DEAD for _ in range(times)]

    @message
    def snapshot(self) -> dict[Any, list[ActorRef[Any]]]:
        """All groups that have living members, with these."""
        everything = {group: self.members(group) for group in self._members}
        return {group: refs for group, refs in everything.items() if refs}

    @message
    def monitor(self, watcher: ActorRef[Any], group: Any) -> tuple[GroupMonitor, list[ActorRef[Any]]]:
        """Watch one group: its members now, and every change from then on."""
        hashed("a group", group)
        self._forget_dead()
        return self._watch(watcher, True, group), self.members(group)

    @message
    def monitor_scope(self, watcher: ActorRef[Any]) -> tuple[GroupMonitor, dict[Any, list[ActorRef[Any]]]]:
        """Watch all groups: their members now, and every change from then on."""
        self._forget_dead()
        return self._watch(watcher, False, None), self.snapshot()

    @message
    def demonitor(self, number: GroupMonitor) -> bool:
        """End a watch; False when there was none."""
        held = self._watchers.pop(number, None)
        if held is not None:
            held[3].cancel()
        return held is not None

    @message
    def statistics(self) -> GroupsStatistics:
        """Figures of this moment."""
        everything = self.snapshot()
        return GroupsStatistics(
            groups=len(everything),
            memberships=sum(len(refs) for refs in everything.values()),
            processes=len({ref for refs in everything.values() for ref in refs}),
            monitors=len(self._watchers),
            dropped=self._dropped,
        )
