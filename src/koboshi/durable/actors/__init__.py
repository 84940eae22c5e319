"""Durable actors: state that is committed before any reply leaves, and messages that are handled once."""

from ._actor import DurableActor
from ._channel import Channel
from ._dead_letter import DeadLetter
from ._handle import Durable, durable
from ._key_ring import KeyRing
from ._kind import DurableStatistics
from ._past import Recorded
from ._query import query
from ._ref import DurableRef
from ._rotation import KeyRotation

__all__ = [
    "Channel",
    "DeadLetter",
    "Durable",
    "DurableActor",
    "DurableRef",
    "DurableStatistics",
    "KeyRing",
    "KeyRotation",
    "Recorded",
    "durable",
    "query",
]
