"""One fork server per node, shared by all its pools: started by the first, ended by the last."""

from __future__ import annotations

from ..._kernel._node import Node
from ._spawner import ForkServer

__all__ = ["borrow", "give_back"]

_KEY = "fork_server"


class _Shared:
    __slots__ = ("lasting", "server", "users")

    def __init__(self) -> None:
        self.server = ForkServer()
        self.users = 0
        self.lasting = False


def borrow(node: Node) -> ForkServer:
    """The node's fork server; each borrowing is to be given back once."""
    shared: _Shared | None = node.services.get(_KEY)
    if shared is None:
        shared = node.services[_KEY] = _Shared()
    shared.users += 1
    return shared.server


def lasting(node: Node) -> ForkServer:
    """The node's fork server, kept until its last supervision tree has ended.

    For children that come and go: one that is restarted should not wait for a new server.
    """
    known: _Shared | None = node.services.get(_KEY)
    if known is not None and known.lasting:
        return known.server
    server = borrow(node)
    shared: _Shared = node.services[_KEY]
    shared.lasting = True
    # The last of all to go: others are closed with its help.
    node.closers.insert(0, lambda: give_back(node, server))
    return server


async def give_back(node: Node, server: ForkServer) -> None:
    """End the server, with whatever workers it still has, when nobody else uses it."""
    shared: _Shared | None = node.services.get(_KEY)
    if shared is None or shared.server is not server:
        return
    shared.users -= 1
    if shared.users == 0:
        # Whoever comes while it ends gets a new one.
        del node.services[_KEY]
        await server.aclose()
