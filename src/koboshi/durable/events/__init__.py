"""Event sourcing: what happened is kept, and states and projections follow from it."""

from ._feed import ProjectionStatus
from ._folds import event
from ._handlers import Source, Transaction, on
from ._projecting import Projecting, projection
from ._projection import Projection
from ._sourced import EventSourced

__all__ = [
    "EventSourced",
    "Projecting",
    "Projection",
    "ProjectionStatus",
    "Source",
    "Transaction",
    "event",
    "on",
    "projection",
]
