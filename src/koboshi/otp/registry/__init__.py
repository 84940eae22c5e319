"""Which processes are found under which keys."""

from ._handle import RegistryHandle, registry
from ._registry import Registry
from ._types import AlreadyRegistered, Registered, Registration, RegistryStatistics, Unregistered

__all__ = [
    "AlreadyRegistered",
    "Registered",
    "Registration",
    "Registry",
    "RegistryHandle",
    "RegistryStatistics",
    "Unregistered",
    "registry",
]
