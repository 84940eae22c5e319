"""One fork server for all tests of a module that start worker processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

__all__ = ["fork_server", "lasting_fork_server"]


@pytest.fixture(scope="module")
async def lasting_fork_server(anyio_backend: object) -> AsyncIterator[None]:
    """A fork server that stays from test to test, and with it their event loop.

    It asks for the loop's backend by name, so that it is there for plain tests of the module too.
    """
    import koboshi as kb
    from koboshi._kernel._node import this_node
    from koboshi.workers.process._shared import borrow, give_back

    node = this_node()
    server = borrow(node)
    # It runs before the first test begins, which would seem to have left it behind; and so with what a loop of libuv
    # opens for its first stream, and keeps.
    async with kb.Supervisor(kb.pool(size=1)):
        pass
    ours, other = socket.socketpair()
    with other:
        _, writer = await asyncio.open_connection(sock=ours)
        writer.close()
        await writer.wait_closed()
    yield
    await give_back(node, server)


@pytest.fixture
async def fork_server(lasting_fork_server: None, anyio_backend: object) -> AsyncIterator[None]:
    """For modules whose tests take no longer than a fork server takes to start: they share one.

    Not for tests that are about the server, lose it, or need a loop that no test had before.
    """
    with ThreadPoolExecutor(thread_name_prefix="of the test") as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield
