"""`groups`: how processes join and look at groups, on any node."""

from __future__ import annotations

from typing import Any

from ..._kernel._cell import DEAD, REMOTE
from ..._kernel._errors import ActorExited, UsageError
from ..._kernel._reasons import NOPROC
from ..._kernel._ref import ActorRef
from .._answering import current_ref, on_this_loop
from .._target import ref_to
from ._groups import Groups, Refs
from ._messages import GroupMonitor, GroupsStatistics


class GroupsHandle:
    """What `groups` gives: small, picklable, and good on every node. Its answers are the scope's own."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Groups]) -> None:
        self._ref = ref

    async def join(self, group: Any, *refs: ActorRef[Any]) -> None:
        """Add the current process, or these of the caller's own node; each as often as it is named.

        Raises:
            UsageError: one is on another node; it joins there.
            ActorExited: one has ended (`NoProc`).
        """
        mine, here = _of_this_node(refs, "join"), on_this_loop(self._ref, Groups, "Groups.join")
        for ref in mine:
            if ref._cell.state == DEAD:
                raise ActorExited(repr(ref), "join", NOPROC, maybe_executed=False)
        if here is not None:
            here.join(group, mine)
        else:
            await self._ref.call(Groups.join, group, mine)

    async def leave(self, group: Any, *refs: ActorRef[Any]) -> None:
        """Take the current process, or these of the caller's own node, out once each.

        Raises:
            NotJoined: none of them is a member.
        """
        mine, here = _of_this_node(refs, "leave"), on_this_loop(self._ref, Groups, "Groups.leave")
        if here is not None:
            here.leave(group, mine)
        else:
            await self._ref.call(Groups.leave, group, mine)

    async def members(self, group: Any) -> list[ActorRef[Any]]:
        """The living members on all nodes, each as often as it has joined."""
        here = on_this_loop(self._ref, Groups, "Groups.members")
        return here.members(group) if here is not None else await self._ref.call(Groups.members, group)

    async def local_members(self, group: Any) -> list[ActorRef[Any]]:
        """Those members that are on the caller's own node."""
        return [ref for ref in await self.members(group) if _is_local(ref)]

    async def which_groups(self) -> list[Any]:
        """The groups that have living members."""
        return list(await self._snapshot())

    async def which_local_groups(self) -> list[Any]:
        """The groups that have living members on the caller's own node."""
        return [
            group for group, refs in (await self._snapshot()).items() if any(_is_local(ref) for ref in refs)
        ]

    async def monitor(self, group: Any) -> tuple[GroupMonitor, list[ActorRef[Any]]]:
        """Have the current process told of changes of a group. Returns its members of now; none is missed.

        Changes come as `Joined` and `Left`. A full mailbox misses them, which is counted and reported.
        """
        me, here = current_ref("monitor"), on_this_loop(self._ref, Groups, "Groups.monitor")
        if here is not None:
            return here.monitor(me, group)
        return await self._ref.call(Groups.monitor, me, group)

    async def monitor_scope(self) -> tuple[GroupMonitor, dict[Any, list[ActorRef[Any]]]]:
        """Like `monitor`, for all groups."""
        me, here = current_ref("monitor_scope"), on_this_loop(self._ref, Groups, "Groups.monitor_scope")
        if here is not None:
            return here.monitor_scope(me)
        return await self._ref.call(Groups.monitor_scope, me)

    async def demonitor(self, monitor: GroupMonitor) -> bool:
        """End a watch; False when it was over. What is in the mailbox already stays there."""
        here = on_this_loop(self._ref, Groups, "Groups.demonitor")
        return (
            here.demonitor(monitor) if here is not None else await self._ref.call(Groups.demonitor, monitor)
        )

    async def statistics(self) -> GroupsStatistics:
        """Figures of this moment."""
        return await self._ref.call(Groups.statistics)

    async def _snapshot(self) -> dict[Any, list[ActorRef[Any]]]:
        here = on_this_loop(self._ref, Groups, "Groups.which_groups")
        return here.snapshot() if here is not None else await self._ref.call(Groups.snapshot)

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupsHandle, (self._ref,)

    def __eq__(self, other: object) -> bool:
        return self._ref == other._ref if isinstance(other, GroupsHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<GroupsHandle of {self._ref!r}>"


def _is_local(ref: ActorRef[Any]) -> bool:
    return ref._target().state != REMOTE


def _of_this_node(refs: Refs, what: str) -> Refs:
    """Pid refs to these processes, or to the current one."""
    for each in refs:
        given: object = each
        if not isinstance(given, ActorRef):
            raise UsageError(f"{what} takes refs of processes behind the group, got {given!r}")
    mine: Refs = tuple(ActorRef(ref._target()) for ref in refs) or (current_ref(what),)
    for ref in mine:
        if ref._cell.state == REMOTE:
            raise UsageError(f"{what} is for processes of the caller's own node, and {ref!r} is on another")
    return mine


def groups(where: ActorRef[Groups] | Any) -> GroupsHandle:
    """Use a scope of groups, by its registered name or by a ref: `teams = otp.groups("teams")`.

    Raises:
        UsageError: it is a ref to something else.
    """
    return GroupsHandle(ref_to(where, Groups))
