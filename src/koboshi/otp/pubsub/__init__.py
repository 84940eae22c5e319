"""Messages to all who are subscribed to a topic."""

from ._handle import PubSubHandle, pubsub
from ._pubsub import PubSub, PubSubStatistics

__all__ = ["PubSub", "PubSubHandle", "PubSubStatistics", "pubsub"]
