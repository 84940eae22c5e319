"""Event sourcing: what happened is kept, and states and projections follow from it."""

from ._folds import event
from ._sourced import EventSourced

__all__ = ["EventSourced", "event"]
