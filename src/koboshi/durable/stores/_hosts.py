"""The host's own row: its lease, renewed by a heartbeat, and what becomes of hosts that are gone."""

from __future__ import annotations

from ._operation import Operation
from ._session import Select, Session
from ._tables import HOST

__all__ = ["Beat", "ForgetHosts", "Hosts", "leave"]

_OTHERS = Select("SELECT host_id, incarnation, lease_until FROM kb_host WHERE host_id <> :host_id")
# A host that is gone leaves its row behind; nobody needs it, since a missing one counts as gone as well.
_KEPT = 3_600.0

Hosts = list[tuple[str, str]]


class Beat(Operation[Hosts]):
    """Renew the lease, or take it for the first time; gives the other hosts whose leases run."""

    rank = 0

    def __init__(self, host: str, incarnation: str, lease: float, labels: str) -> None:
        self._host = host
        self._incarnation = incarnation
        self._lease = lease
        self._labels = labels

    def perform(self, session: Session) -> Hosts:
        """See `Operation.perform`."""
        now = session.lease_now
        until = now + self._lease
        row = (self._host, self._incarnation, until)
        if not session.update(HOST, ("host_id", "incarnation"), ("lease_until",), [row]):
            columns = ("host_id", "incarnation", "lease_until", "state", "labels", "writes")
            session.insert(HOST, columns, [(*row, "up", self._labels, 0)])
        others = session.fetch(_OTHERS, self._host)
        old = [(host,) for host, _, lease_until in others if lease_until < now - _KEPT]
        if old:
            session.delete(HOST, ("host_id",), old)
        return [(host, incarnation) for host, incarnation, lease_until in others if lease_until > now]


class ForgetHosts(Operation[None]):
    """Take the rows of hosts away that are known to be gone, so that nobody waits for their leases."""

    rank = 0

    def __init__(self, hosts: list[str]) -> None:
        self._hosts = hosts

    def perform(self, session: Session) -> None:
        """See `Operation.perform`."""
        session.delete(HOST, ("host_id",), [(host,) for host in self._hosts])


def leave(host: str) -> Operation[None]:
    """Take the host's own row away."""
    return ForgetHosts([host])
