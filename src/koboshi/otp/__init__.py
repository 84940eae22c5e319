"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from ._partitions import NoPartitions, Partitions, PartitionSupervisor, partition_number, partitions
from .pubsub._groups import Groups, Joined, Left, Membership, NotJoined, groups
from .pubsub._pubsub import PubSub, PubSubStatistics, Topics, pubsub
from .registry._entries import Entry
from .registry._partition import AlreadyRegistered, Registered, Unregistered
from .registry._registry import KeyRegistry, Registry, RegistryStatistics, registry
from .tasks._many import wait_many, yield_many
from .tasks._outcome import Failed, Ok, Outcome
from .tasks._stream import task_stream
from .tasks._supervisor import Tasks, TaskSupervisor, tasks
from .tasks._task import Task, task, task_nolink

__all__ = [
    "AlreadyRegistered",
    "Entry",
    "Failed",
    "Groups",
    "Joined",
    "KeyRegistry",
    "Left",
    "Membership",
    "NoPartitions",
    "NotJoined",
    "Ok",
    "Outcome",
    "PartitionSupervisor",
    "Partitions",
    "PubSub",
    "PubSubStatistics",
    "Registered",
    "Registry",
    "RegistryStatistics",
    "Task",
    "TaskSupervisor",
    "Tasks",
    "Topics",
    "Unregistered",
    "groups",
    "partition_number",
    "partitions",
    "pubsub",
    "registry",
    "task",
    "task_nolink",
    "task_stream",
    "tasks",
    "wait_many",
    "yield_many",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
