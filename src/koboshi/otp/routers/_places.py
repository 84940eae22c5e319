"""How many calls a router has outstanding, and who waits until it may have one more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..._kernel._node import this_node
from ...wire._keys import message_key
from ._routees import ChildrenOf, Given, Routee
from ._strategies import RouterStrategy, picks_of

Tried = tuple[Routee, ...]


class Places:
    """The shared part of all handles on one router.

    A place is given to whoever waits for it by the one who frees it, the longest waiting first, so a
    newcomer cannot take it in between.
    """

    def __init__(
        self,
        source: Given | ChildrenOf,
        strategy: RouterStrategy,
        limit: int | None,
        limit_all: int | None,
        seed: int | None,
        key: Callable[..., Any] | None,
    ) -> None:
        self.source = source
        self.strategy: RouterStrategy = strategy
        self.limit = limit
        self.limit_all = limit_all
        self.seed = seed
        self.key = key
        self.keyed = strategy == "consistent_hash"
        self.busy = 0
        self.calls = 0
        self.casts = 0
        self.rerouted = 0
        self.refused = 0
        # By the future that is given the place: the number of the message's key, and who turned it away.
        self.waiting: dict[asyncio.Future[Routee | None], tuple[int, Tried]] = {}
        # Looked up once, and not for each message.
        self._pick = picks_of(strategy, seed).pick
        self._may = self._room

    def number(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """The number of the message's key; 0 where the strategy has no use for one."""
        return (message_key(self.key, args, kwargs) or 0) if self.keyed else 0

    def find(self, number: int, tried: Tried = ()) -> Routee | None:
        """Who should get a message now; None when nobody may."""
        if self.limit_all is not None and self.busy >= self.limit_all:
            return None
        if not tried:
            return self._pick(self.source.now(), Routee.alive, self._may, number)

        def alive(routee: Routee) -> bool:
            return routee not in tried and routee.alive()

        return self._pick(self.source.now(), alive, self._may, number)

    def _room(self, routee: Routee) -> bool:
        return self.limit is None or routee.busy < self.limit

    def living(self, tried: Tried = ()) -> list[Routee]:
        """All that are alive and have not turned a message away."""
        return [each for each in self.source.now() if each not in tried and each.alive()]

    def take(self, number: int, tried: Tried = ()) -> Routee | None:
        """Find somebody and count a call to them, unless others wait for just that."""
        if self.waiting:
            self._hand_out()
            if self.waiting and not self.keyed:
                return None
        if tried or self.limit_all is not None:
            routee = self.find(number, tried)
        else:
            routee = self._pick(self.source.now(), Routee.alive, self._may, number)
        if routee is not None:  # as `hold`
            routee.busy += 1
            routee.calls += 1
            self.busy += 1
            self.calls += 1
        return routee

    def hold(self, routee: Routee) -> None:
        """Count a call."""
        routee.busy += 1
        routee.calls += 1
        self.busy += 1
        self.calls += 1

    def free(self, routee: Routee) -> None:
        """A call is over."""
        routee.busy -= 1
        self.busy -= 1
        if self.waiting:
            self._hand_out()

    async def wait(self, number: int, tried: Tried, deadline: float | None) -> Routee | None:
        """Wait for a place and count a call to it; None when nobody is left to wait for.

        Raises:
            TimeoutError: the deadline, a time of the loop, has passed.
        """
        if not self.living(tried):
            return None
        place: asyncio.Future[Routee | None] = this_node().loop.create_future()
        self.waiting[place] = number, tried
        try:
            async with asyncio.timeout_at(deadline):
                return await place
        except BaseException:
            # Given and given up in the same moment: somebody else may have it.
            if place.done() and not place.cancelled() and (given := place.result()) is not None:
                self.free(given)
            raise
        finally:
            self.waiting.pop(place, None)

    def _hand_out(self) -> None:
        """Give free places to those that wait, the oldest first."""
        for place, (number, tried) in tuple(self.waiting.items()):
            if place.done():
                continue
            routee = self.find(number, tried)
            if routee is not None:
                self.hold(routee)
            elif self.living(tried):
                if self.keyed and (self.limit_all is None or self.busy < self.limit_all):
                    continue  # its routee is busy; that of another key may be free
                return
            self.waiting.pop(place, None)
            place.set_result(routee)
