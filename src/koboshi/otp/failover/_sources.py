"""What a failover gets its items from, and what the processes that bring them hold in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..._kernel._actor import Actor
from ..._kernel._errors import KoboshiError, UsageError
from ..._kernel._ref import ActorRef
from ..._supervision._options import seconds
from ..._supervision._spec import ChildSpec

if TYPE_CHECKING:
    from ._failover import Failover


class NotActive(KoboshiError):
    """A source delivered although another one is active now; its items come from that one."""

    def __init__(self, run: int) -> None:
        super().__init__(f"run {run} is not of the active source; what it delivered was not taken")
        self.run = run


@dataclass(frozen=True, slots=True)
class Feed:
    """How a push source delivers: the first argument of its function or actor.

    Attributes:
        source: its name.
        cursor: where to resume: of the last item that was delivered, by whichever source; None at first.
    """

    failover: ActorRef[Failover]
    source: str
    run: int
    cursor: Any

    async def deliver(self, item: Any, cursor: Any = None) -> None:
        """Hand one item over; returns when the consumer has taken it, however long that takes.

        Args:
            cursor: where to resume after it. One that is not beyond the last one is of an item that was
                delivered already, and it is dropped.

        Raises:
            NotActive: another source has taken over; end now.
        """
        from ._failover import Failover

        await self.failover.within(None).call(Failover.take, self.run, item, cursor)

    async def heartbeat(self) -> None:
        """Say that there is nothing to deliver, so that the silence is not taken for a failure.

        Raises:
            NotActive: another source has taken over; end now.
        """
        from ._failover import Failover

        await self.failover.within(None).call(Failover.heard, self.run)


@dataclass(frozen=True, slots=True)
class Push:
    """A source that delivers by itself: an async function or an actor, started with a `Feed` and `args`.

    Its end, clean or not, is a failure. `on` says on which node it runs, as in a child spec.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...] = ()
    on: Any = None

    def __post_init__(self) -> None:
        _check(self.name, self.target)

    def spec(self, feed: Feed) -> ChildSpec[Any]:
        """How one run of it is started."""
        return _temporary(self.target, (feed, *self.args), feed, self.on)


@dataclass(frozen=True, slots=True)
class Poll:
    """A source that is asked: `items, cursor = await poll(cursor)`, `every` so many seconds.

    The cursor is the one that came with the items delivered last, None at first. An exception is a
    failure; no items are none.
    """

    name: str
    poll: Callable[[Any], Coroutine[Any, Any, tuple[Sequence[Any], Any]]]
    every: float = 1.0
    on: Any = None

    def __post_init__(self) -> None:
        _check(self.name, self.poll)
        seconds("every", self.every)

    def spec(self, feed: Feed) -> ChildSpec[Any]:
        """How one run of it is started."""
        return _temporary(poll_on, (feed, self.poll, self.every), feed, self.on)


async def poll_on(feed: Feed, poll: Callable[[Any], Coroutine[Any, Any, Any]], every: float) -> None:
    """The process of a `Poll`."""
    from ._failover import Failover

    cursor = feed.cursor
    while True:
        brought: object = await poll(cursor)
        if not isinstance(brought, tuple) or len(brought) != 2:  # pyright: ignore[reportUnknownArgumentType]
            raise UsageError(f"the poll of {feed.source!r} returns (items, cursor), got {brought!r}")
        items, after = brought  # pyright: ignore[reportUnknownVariableType]
        cursor = await feed.failover.within(None).call(Failover.take_all, feed.run, cursor, items, after)
        await asyncio.sleep(every)


def _temporary(target: Any, args: tuple[Any, ...], feed: Feed, on: Any) -> ChildSpec[Any]:
    made: ChildSpec[Any] = ChildSpec(target, args)
    return made.options(id=f"{feed.source}-{feed.run}", restart="temporary", on=on)


def _check(name: object, target: object) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"name takes a string that is not empty, got {name!r}")
    if not callable(target):
        raise UsageError(f"the source {name!r} takes an async function or an actor class, got {target!r}")
    if isinstance(target, type) and not issubclass(target, Actor):
        raise UsageError(f"the source {name!r} takes a subclass of kb.Actor, got {target!r}")
