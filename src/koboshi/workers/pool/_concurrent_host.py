"""What runs in a worker of a pool of actors that has several messages in hand: as many actors.

An actor handles one message at a time, here as anywhere, and nothing in it has to reckon with another
message between two lines. So messages that overlap have an actor each, and the crash of one is its own.
"""

from __future__ import annotations

import asyncio
import atexit
from typing import Any

from ..._kernel._end import gone
from ..._kernel._errors import ActorExited, NotRunning, StartError
from ..._kernel._message import describe
from ..._kernel._reasons import SHUTDOWN, Crashed
from ..._kernel._ref import ActorRef
from ..._kernel._self import start
from ._host import STOP_TIMEOUT, hosted_exit

__all__ = ["handle_beside", "open_hosts"]


class _Hosts:
    """The actors of this process."""

    def __init__(self, cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._cls = cls
        self._args = args
        self._kwargs = kwargs
        self._loop = asyncio.get_running_loop()
        self._all: set[ActorRef[Any]] = set()
        # Those without a message, the latest last: the ones that are needed most stay warm.
        self._idle: list[ActorRef[Any]] = []

    async def start(self) -> ActorRef[Any]:
        """Make one; raises what its constructor or `on_start` raised."""
        try:
            ref = (await start(self._cls, *self._args, **self._kwargs)).within(None)
        except StartError as error:
            raise error.__cause__ or error from None
        self._all.add(ref)
        return ref

    async def open(self) -> None:
        """Make the first one; more are made when messages overlap."""
        self._idle.append(await self.start())

    async def handle(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        message = getattr(self._cls, name)
        while True:
            ref = self._take()
            try:
                ref = ref or await self.start()
            except Exception as error:
                return hosted_exit(describe(message), Crashed(error))
            try:
                return await self._ask(ref, message, args, kwargs)
            except NotRunning:
                # Its end was due already, and nothing was delivered: this caller has no part in it.
                if ref.alive:
                    raise  # a handler's own answer
            finally:
                if ref.alive:
                    self._idle.append(ref)
                else:
                    self._all.discard(ref)

    def _take(self) -> ActorRef[Any] | None:
        while self._idle:
            ref = self._idle.pop()
            if ref.alive:
                return ref
            self._all.discard(ref)
        return None

    async def _ask(
        self, ref: ActorRef[Any], message: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> object:
        try:
            return await ref.call(message, *args, **kwargs)
        except ActorExited as ended:
            if ref.alive:
                raise  # of another actor, and a handler's own answer
            return hosted_exit(describe(message), ended.reason)
        except asyncio.CancelledError:
            # The handler goes on without its caller; what is cancelled is to have ended.
            if ref.alive:
                ref.kill()
                await gone(ref._target())
            raise

    def stop(self) -> None:
        async def stop_all() -> None:
            living = [ref for ref in self._all if ref.alive]
            await asyncio.gather(*(ref.stop(SHUTDOWN, timeout=STOP_TIMEOUT) for ref in living))

        self._loop.run_until_complete(stop_all())


_hosts: _Hosts | None = None


async def open_hosts(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Make this worker's first actor; raises what its constructor or `on_start` raised."""
    global _hosts
    _hosts = _Hosts(cls, args, kwargs)
    await _hosts.open()
    atexit.register(_hosts.stop)


async def handle_beside(name: str, /, *args: Any, **kwargs: Any) -> object:
    """Give one message to an actor that has none; returns its reply, or a `HostedExit`."""
    assert _hosts is not None
    return await _hosts.handle(name, args, kwargs)
