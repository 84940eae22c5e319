"""State machines that persist: the table of `koboshi.otp`, with state, data and timeouts committed at each event."""

from ._machine import DurableStateMachine, EventRefused

__all__ = ["DurableStateMachine", "EventRefused"]
