"""Named groups of processes, with counted members."""

from ._groups import Groups
from ._handle import GroupsHandle, groups
from ._messages import GroupMonitor, GroupsStatistics, Joined, Left, NotJoined

__all__ = [
    "GroupMonitor",
    "Groups",
    "GroupsHandle",
    "GroupsStatistics",
    "Joined",
    "Left",
    "NotJoined",
    "groups",
]
