"""What travels with each message besides its arguments: the sender's `contextvars` context.

Every message runs in a copy of the context in which it was sent. So whatever a caller has set,
a request's id, a tenant, a trace, is there in the callee and in all that it calls, and what the
callee sets never comes back.
"""

from __future__ import annotations

from contextvars import ContextVar

#: The id under which logs of one request are found again; None until somebody sets it.
correlation_id: ContextVar[str | None] = ContextVar("koboshi_correlation_id", default=None)
