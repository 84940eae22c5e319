"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from .groups import (
    GroupMonitor,
    Groups,
    GroupsHandle,
    GroupsStatistics,
    Joined,
    Left,
    NotJoined,
    groups,
)
from .pubsub import (
    PubSub,
    PubSubHandle,
    PubSubStatistics,
    pubsub,
)
from .registry import (
    AlreadyRegistered,
    Registered,
    Registration,
    Registry,
    RegistryHandle,
    RegistryStatistics,
    Unregistered,
    registry,
)

__all__ = [
    "AlreadyRegistered",
    "GroupMonitor",
    "Groups",
    "GroupsHandle",
    "GroupsStatistics",
    "Joined",
    "Left",
    "NotJoined",
    "PubSub",
    "PubSubHandle",
    "PubSubStatistics",
    "Registered",
    "Registration",
    "Registry",
    "RegistryHandle",
    "RegistryStatistics",
    "Unregistered",
    "groups",
    "pubsub",
    "registry",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
