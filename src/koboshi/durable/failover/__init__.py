"""One stream of items from whichever source works, into durable actors, with a cursor that is never lost."""

from ._failover import DurableFailover

__all__ = ["DurableFailover"]
