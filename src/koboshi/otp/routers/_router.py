"""`router`: one typed address for many actors.

Routing happens in the sender, so it costs no hop and no process is a bottleneck. The price is that
"outstanding" means outstanding through this router: two over the same actors do not know of each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from ..._kernel._actor import Actor
from ..._kernel._calls import DEFAULT_DEADLINE, check_within, deadline_of
from ..._kernel._errors import ActorExited, CallError, CallTimeout, MailboxFull, NotRunning, UsageError
from ..._kernel._message import Message, describe
from ..._kernel._node import this_node
from ..._kernel._ref import ActorRef
from ..._supervision._options import one_of, whole
from ..._supervision._supervisor import Supervisor
from ...wire._keys import Key
from ._places import Places, Tried
from ._routees import Given, Routee, source_of
from ._statistics import RouteeInfo, RouterStatistics
from ._strategies import STRATEGIES, RouterStrategy

AC = TypeVar("AC", bound=Actor, covariant=True)
AA = TypeVar("AA", bound=Actor)
P = ParamSpec("P")
RR = TypeVar("RR")

# Their types say nothing once message and arguments are on their way as values.
_CALL = cast("Callable[..., Any]", ActorRef.call)  # pyright: ignore[reportUnknownMemberType]
_SEND = cast("Callable[..., Any]", ActorRef.send)  # pyright: ignore[reportUnknownMemberType]

TO_ALL = ("broadcast", "scatter_gather_first")


class Router(Generic[AC]):
    """An address that stands for many actors; made by `router`.

    It is used like a ref. What it knows of calls is shared by all that `within` gives. Pickled, it is a new
    router over the same actors at the other end.
    """

    __slots__ = ("_places", "_within")

    def __init__(self, places: Places, within: float | None = DEFAULT_DEADLINE) -> None:
        self._places = places
        self._within = within

    # -- messages --------------------------------------------------------------------------------

    async def call(
        self: Router[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RR:
        """Send a message to one routee and wait for its reply, 5 s at most with all that this takes.

        A routee that surely never began on it is passed over. With "scatter_gather_first" all get it, and
        the first success is the reply.

        Raises:
            CallTimeout: no place or no reply in time.
            ActorExited: the routee ended when it may have begun on it.
            NotRunning: no routee is there.
            UsageError: the strategy is "broadcast", whose replies are many: use `call_all`.
        """
        places = self._places
        if places.strategy in TO_ALL:
            if places.strategy == "broadcast":
                raise UsageError(
                    'the replies of a "broadcast" router are many: use call_all, or strategy='
                    '"scatter_gather_first" for the first of them'
                )
            return await self._first(message, args, kwargs)  # type: ignore[no-any-return]
        if places.source.outdated:
            await places.source.refresh(self._left(self._deadline()))
        number = places.number(args, kwargs) if places.keyed else 0
        routee = places.take(number)
        if routee is None:
            return await self._slowly(_CALL, message, args, kwargs, number, ())  # type: ignore[no-any-return]
        began = routee.ref._cell.node.loop.time()
        ref = routee.ref if self._within == DEFAULT_DEADLINE else routee.ref.within(self._within)
        try:
            return await ref.call(message, *args, **kwargs)
        except (NotRunning, ActorExited) as error:
            if not _turned_away(error, ref, message):
                raise
        finally:
            places.free(routee)
        places.rerouted += 1
        return await self._slowly(_CALL, message, args, kwargs, number, (routee,), began)  # type: ignore[no-any-return]

    def cast(
        self: Router[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send a message to one routee, or with the two strategies for all to all that are alive.

        With nobody there it is silently lost, as a cast to a dead actor is.

        Raises:
            MailboxFull: the routee's mailbox is at its limit, or calls take all places of the router.
        """
        places = self._places
        if places.strategy in TO_ALL:
            for each in places.living():
                each.ref.cast(message, *args, **kwargs)
        else:
            routee = places.find(places.number(args, kwargs))
            if routee is not None:
                routee.ref.cast(message, *args, **kwargs)
            elif places.living():
                places.refused += 1
                raise MailboxFull(
                    repr(self),
                    describe(message),
                    places.limit or places.limit_all or 0,
                    f"all places of {self!r} are taken by calls",
                )
        places.casts += 1

    async def send(
        self: Router[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Like `cast`, but waits for a place and for room in the mailbox, until the deadline.

        Raises:
            CallTimeout: there was none in time.
            NotRunning: no routee is there.
        """
        places = self._places
        if places.strategy in TO_ALL:
            await self._ask_all(_SEND, message, args, kwargs)
            return
        await self._slowly(_SEND, message, args, kwargs, places.number(args, kwargs), ())

    async def call_all(
        self: Router[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[RR | CallError]:
        """Call all living routees at once; their replies in the order of the routees, errors in place.

        Limits do not hold it up: it is one message to each.
        """
        return await self._ask_all(_CALL, message, args, kwargs)

    def within(self, seconds: float | None) -> Router[AC]:
        """The same router with another deadline, in seconds; None waits for ever."""
        check_within(seconds)
        return Router(self._places, seconds)

    # -- who it sends to -------------------------------------------------------------------------

    def add(self: Router[AA], ref: ActorRef[AA], id: Key = None) -> None:
        """Add a routee; without an id it has the next number. Not for children of a supervisor."""
        self._given("add").add(ref, id)

    def remove(self: Router[AA], routee: ActorRef[AA] | Key) -> bool:
        """Remove a routee by ref or id; False when there is none. Its outstanding calls go on."""
        return self._given("remove").remove(routee)

    def statistics(self) -> RouterStatistics:
        """The router's figures now."""
        places = self._places
        return RouterStatistics(
            places.strategy,
            tuple(
                RouteeInfo(each.id, each.ref, each.alive(), each.busy, each.calls)
                for each in places.source.now()
            ),
            places.busy,
            len(places.waiting),
            places.calls,
            places.casts,
            places.rerouted,
            places.refused,
        )

    # -- inside ----------------------------------------------------------------------------------

    def _given(self, what: str) -> Given:
        source = self._places.source
        if not isinstance(source, Given):
            raise UsageError(
                f"{what} is for routers over refs; start or stop a child of the supervisor instead"
            )
        return source

    def _deadline(self) -> float | None:
        node = this_node()
        own = None if self._within is None else node.loop.time() + self._within
        both = [each for each in (own, deadline_of(node.current)) if each is not None]
        return min(both, default=None)

    @staticmethod
    def _left(deadline: float | None) -> float | None:
        return None if deadline is None else max(0.0, deadline - this_node().loop.time())

    async def _slowly(
        self,
        way: Callable[..., Any],
        message: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        number: int,
        tried: Tried,
        began: float | None = None,
    ) -> Any:
        """Go from one routee to the next, and wait for a place where there is none."""
        places, loop = self._places, this_node().loop
        if began is None:
            began = loop.time()
        deadline = self._deadline()
        if deadline is not None and self._within is not None:
            deadline = min(deadline, began + self._within)
        if places.source.outdated:
            await places.source.refresh(self._left(deadline))
        while True:
            routee = places.take(number, tried)
            if routee is None:
                try:
                    routee = await places.wait(number, tried, deadline)
                except TimeoutError:
                    places.refused += 1
                    raise CallTimeout(
                        repr(self), describe(message), loop.time() - began, maybe_executed=False
                    ) from None
            if routee is None:
                raise NotRunning(repr(self), describe(message))
            ref = routee.ref.within(self._left(deadline))
            try:
                return await way(ref, message, *args, **kwargs)
            except (NotRunning, ActorExited) as error:
                if not _turned_away(error, ref, message):
                    raise
            finally:
                places.free(routee)
            places.rerouted += 1
            tried = (*tried, routee)

    async def _ask_all(
        self, way: Callable[..., Any], message: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        """Do the same to all living routees at once."""
        tasks = await self._to_all(way, message, args, kwargs)
        try:
            return [(await task)[0] for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    async def _first(self, message: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call all living routees; the first success stands, and nobody waits for the others any more."""
        tasks = await self._to_all(_CALL, message, args, kwargs)
        waiting, failed = set(tasks), None
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in (each for each in tasks if each in done):
                    outcome, ok = task.result()
                    if ok:
                        return outcome
                    failed = outcome
        finally:
            for task in tasks:
                task.cancel()
        raise failed or NotRunning(repr(self), describe(message))

    async def _to_all(
        self, way: Callable[..., Any], message: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[asyncio.Task[tuple[Any, bool]]]:
        places = self._places
        deadline = self._deadline()
        if places.source.outdated:
            await places.source.refresh(self._left(deadline))

        async def one(routee: Routee) -> tuple[Any, bool]:
            places.hold(routee)
            try:
                # An asyncio task is not under the deadline of the handler that started it.
                return await way(routee.ref.within(self._left(deadline)), message, *args, **kwargs), True
            except CallError as error:
                return error, False
            finally:
                places.free(routee)

        return [this_node().loop.create_task(one(each)) for each in places.living()]

    def __reduce__(self) -> tuple[Any, ...]:
        places = self._places
        options = (places.strategy, places.limit, places.limit_all, places.seed, places.key)
        return _rebuild, (places.source.recipe(), options, self._within)

    def __repr__(self) -> str:
        return f"<Router {self._places.strategy} over {len(self._places.source.now())} routees>"


def _turned_away(error: CallError, ref: ActorRef[Any], message: Any) -> bool:
    """Whether the error says that this very message never began there.

    A routee may pass on an error of a call that it made itself; that one says nothing about ours.
    """
    ours = error.message == describe(message) and ref._cell.label() in error.target
    return ours and not error.maybe_executed


def _rebuild(recipe: tuple[Any, ...], options: tuple[Any, ...], within: float | None) -> Router[Any]:
    return Router(Places(source_of(*recipe, *(None,) * (2 - len(recipe))), *options), within)


@overload
def router(
    routees: Iterable[ActorRef[AA]] | Mapping[Any, ActorRef[AA]],
    /,
    *,
    strategy: RouterStrategy = ...,
    limit: int | None = ...,
    limit_all: int | None = ...,
    seed: int | None = ...,
    key: Callable[..., Key] | None = ...,
) -> Router[AA]: ...
@overload
def router(
    supervisor: ActorRef[Supervisor] | Supervisor,
    cls: type[AA],
    /,
    *,
    strategy: RouterStrategy = ...,
    limit: int | None = ...,
    limit_all: int | None = ...,
    seed: int | None = ...,
    key: Callable[..., Key] | None = ...,
) -> Router[AA]: ...
def router(
    routees: Any,
    cls: Any = None,
    /,
    *,
    strategy: RouterStrategy = "round_robin",
    limit: int | None = None,
    limit_all: int | None = None,
    seed: int | None = None,
    key: Callable[..., Key] | None = None,
) -> Router[Any]:
    """One address for many actors: `otp.router(refs)`, or `otp.router(supervisor, Worker)` for its children.

    Args:
        routees: refs in an iterable, or in a mapping under ids of your own.
        supervisor, cls: the children of that class, as they are at each call; restarted ones are found again.
        strategy: "round_robin", "random", "least_busy" (fewest calls outstanding through this router),
            "smallest_mailbox", "consistent_hash", "broadcast" or "scatter_gather_first".
        limit: calls outstanding per routee; further ones wait. None: any number.
        limit_all: calls outstanding in all.
        seed: of "random".
        key: makes the key of "consistent_hash" from a message's arguments; the first one by default.

    Raises:
        UsageError: an option has no such value, or these are no routees.
    """
    one_of("strategy", strategy, STRATEGIES)
    for name, value in (("limit", limit), ("limit_all", limit_all)):
        if value is not None:
            whole(name, value, 1)
    if seed is not None:
        if strategy != "random":
            raise UsageError(f'seed is for strategy="random", got strategy={strategy!r}')
        whole("seed", seed, 0)
    asked: object = key
    if asked is not None and (strategy != "consistent_hash" or not callable(asked)):
        raise UsageError(f'key takes a function and strategy="consistent_hash", got key={key!r}')
    return Router(Places(source_of(routees, cls), strategy, limit, limit_all, seed, key))
