"""`Groups`: named sets of processes that count how often each has joined, after OTP's `pg`.

One scope for all nodes of a machine, and one actor that knows it, so there is one view: what OTP's scopes,
one on each node, agree on in time, is agreed on here at once. Any process may be joined from any node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..._kernel import _bonds
from ..._kernel._actor import Actor
from ..._kernel._errors import KoboshiError, MailboxFull, NotRunning, UsageError
from ..._kernel._events import Dropped
from ..._kernel._message import message
from ..._kernel._reasons import Down
from ..._kernel._ref import ActorRef
from ..._kernel._reply import defer
from .._here import actor_here, as_ref, caller, hashable
from ._pubsub import _node_of

__all__ = ["Groups", "Joined", "Left", "Membership", "NotJoined", "groups"]


class NotJoined(KoboshiError):
    """A process was to leave a group that it is not in, or not so often."""

    def __init__(self, group: Any, ref: ActorRef[Any]) -> None:
        super().__init__(f"{ref!r} is not in the group {group!r}, so it cannot leave it")
        self.group = group
        self.ref = ref

    def __reduce__(self) -> tuple[Any, ...]:
        return NotJoined, (self.group, self.ref)


@dataclass(frozen=True, slots=True)
class Joined:
    """What who monitors a group is sent: these have joined, each as often as it is there."""

    group: Any
    refs: tuple[ActorRef[Any], ...]


@dataclass(frozen=True, slots=True)
class Left:
    """What who monitors a group is sent: these have left or ended, each as often as it is there."""

    group: Any
    refs: tuple[ActorRef[Any], ...]


class Groups(Actor):
    """Knows who is in which group. `groups(ref)` joins and asks, from any node."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Counter[ActorRef[Any]]] = {}
        # Those who are in a group, or monitor one, and the watch over each.
        self._watched: dict[ActorRef[Any], _bonds.Monitor] = {}
        # Who is told of the changes of a group; None stands for all groups.
        self._told: dict[Hashable, dict[ActorRef[Any], None]] = {}

    @message
    def join(self, group: Any, refs: Sequence[ActorRef[Any]]) -> None:
        """Add processes to a group, once more each."""
        try:
            self.add(group, refs)
        except KoboshiError as refused:
            defer().fail(refused)

    def add(self, group: Any, refs: Sequence[ActorRef[Any]]) -> None:
        """`join`, called directly."""
        for ref in refs:
            if not ref.alive:
                raise NotRunning(repr(ref), f"the group {group!r}")
        for ref in refs:
            self._watch(ref)
            self._groups.setdefault(group, Counter())[ref] += 1
        self._tell(group, Joined(group, tuple(refs)))

    @message
    def leave(self, group: Any, refs: Sequence[ActorRef[Any]]) -> None:
        """Take processes out of a group, once each. All or none of them: raises `NotJoined`."""
        try:
            self.remove(group, refs)
        except KoboshiError as refused:
            defer().fail(refused)

    def remove(self, group: Any, refs: Sequence[ActorRef[Any]]) -> None:
        """`leave`, called directly."""
        members = self._groups.get(group, Counter[ActorRef[Any]]())
        for ref, times in Counter(refs).items():
            if members[ref] < times:
                raise NotJoined(group, ref)
        for ref in refs:
            members[ref] -= 1
            if not members[ref]:
                del members[ref]
        if not members:
            self._groups.pop(group, None)
        self._tell(group, Left(group, tuple(refs)))

    @message
    def members(self, group: Any, near: ActorRef[Any] | None = None) -> list[ActorRef[Any]]:
        """Who is in a group, as often as it has joined; with `near`, those on its node alone."""
        found = [ref for ref in self._groups.get(group, Counter[ActorRef[Any]]()).elements() if ref.alive]
        return [ref for ref in found if near is None or _node_of(ref) == _node_of(near)]

    @message
    def which_groups(self) -> list[Any]:
        """The groups that have members."""
        return list(self._groups)

    @message
    def monitor(self, group: Any, whole: bool, ref: ActorRef[Any]) -> dict[Any, list[ActorRef[Any]]]:
        """Tell a process of changes from now on: of one group, or of all. Gives the members now."""
        self._watch(ref)
        self._told.setdefault(_ALL if whole else group, {})[ref] = None
        return {each: self.members(each) for each in (self._groups if whole else (group,))}

    @message
    def demonitor(self, group: Any, whole: bool, ref: ActorRef[Any]) -> None:
        """Tell it no more."""
        key: Any = _ALL if whole else group
        told = self._told.get(key)
        if told is not None:
            told.pop(ref, None)
            if not told:
                del self._told[key]

    def on_down(self, down: Down) -> None:
        ref = down.target
        self._watched.pop(ref, None)
        for told in self._told.values():
            told.pop(ref, None)
        self._told = {key: told for key, told in self._told.items() if told}
        for group in [group for group, members in self._groups.items() if ref in members]:
            times = self._groups[group].pop(ref)
            if not self._groups[group]:
                del self._groups[group]
            self._tell(group, Left(group, (ref,) * times))

    def format_status(self) -> object:
        return {group: sum(members.values()) for group, members in self._groups.items()}

    def _watch(self, ref: ActorRef[Any]) -> None:
        if ref not in self._watched:
            self._watched[ref] = _bonds.monitor(self._kb_cell, ref._target(), ref)

    def _tell(self, group: Any, what: Joined | Left) -> None:
        for ref in {**self._told.get(group, {}), **self._told.get(_ALL, {})}:
            try:
                ref.tell(what)
            except MailboxFull as full:
                self._kb_cell.node.instruments.emit(Dropped(full.target, full.message, full.limit))


class _All:
    """Stands for all groups; nobody else can have it as a group."""


_ALL = _All()


class Membership:
    """Joins, leaves and asks; made by `groups`. It keeps an address, nothing else."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Groups]) -> None:
        self._ref = ref

    async def join(self, group: Any, *refs: ActorRef[Any]) -> None:
        """Add processes to a group, the current one by default; twice counts twice.

        Raises:
            NotRunning: one is dead.
            NotInProcess: none was named, and no process runs here.
        """
        who = _named(group, refs, "join")
        here = actor_here(self._ref, Groups)
        if here is not None:
            here.add(group, who)
        else:
            await self._ref.call(Groups.join, group, who)

    async def leave(self, group: Any, *refs: ActorRef[Any]) -> None:
        """Take processes out of a group, the current one by default, once each.

        Raises:
            NotJoined: one is not in it, or not so often; then nobody has left.
            NotInProcess: none was named, and no process runs here.
        """
        who = _named(group, refs, "leave")
        here = actor_here(self._ref, Groups)
        if here is not None:
            here.remove(group, who)
        else:
            await self._ref.call(Groups.leave, group, who)

    async def members(self, group: Any) -> list[ActorRef[Any]]:
        """Who is in a group, on any node, each as often as it has joined."""
        here = actor_here(self._ref, Groups)
        return here.members(group) if here is not None else await self._ref.call(Groups.members, group)

    async def local_members(self, group: Any) -> list[ActorRef[Any]]:
        """Those members that live on the current process's node."""
        me = caller("local_members")
        here = actor_here(self._ref, Groups)
        return (
            here.members(group, me) if here is not None else await self._ref.call(Groups.members, group, me)
        )

    async def which_groups(self) -> list[Any]:
        """The groups that have members."""
        return await self._ref.call(Groups.which_groups)

    async def monitor(self, group: Any) -> list[ActorRef[Any]]:
        """The members now; the current process is sent `Joined` and `Left` for every change after that."""
        found = await self._ref.call(Groups.monitor, group, False, caller("monitor"))
        return found[group]

    async def monitor_all(self) -> dict[Any, list[ActorRef[Any]]]:
        """The members of every group now; the current process is sent every change after that."""
        return await self._ref.call(Groups.monitor, None, True, caller("monitor_all"))

    async def demonitor(self, group: Any) -> None:
        """End what `monitor` began."""
        await self._ref.call(Groups.demonitor, group, False, caller("demonitor"))

    async def demonitor_all(self) -> None:
        """End what `monitor_all` began."""
        await self._ref.call(Groups.demonitor, None, True, caller("demonitor_all"))

    def __repr__(self) -> str:
        return f"<Membership at {self._ref!r}>"


def groups(where: ActorRef[Groups] | Any) -> Membership:
    """How groups are joined and asked for, by a ref or a registered name: `groups("workers")`."""
    return Membership(as_ref(Groups, where))


def _named(group: Any, refs: tuple[ActorRef[Any], ...], what: str) -> tuple[ActorRef[Any], ...]:
    hashable("a group", group)
    for ref in refs:
        each: object = ref
        if not isinstance(each, ActorRef):
            raise UsageError(f"{what} takes refs of processes, got {each!r}")
    return refs or (caller(what),)
