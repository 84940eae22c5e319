"""Which routee is next. Each strategy picks among those that may be taken, and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, Protocol

from ._routees import Routee

RouterStrategy = Literal[
    "round_robin",
    "random",
    "least_busy",
    "smallest_mailbox",
    "consistent_hash",
    "broadcast",
    "scatter_gather_first",
]
STRATEGIES: tuple[RouterStrategy, ...] = (
    "round_robin",
    "random",
    "least_busy",
    "smallest_mailbox",
    "consistent_hash",
    "broadcast",
    "scatter_gather_first",
)

May = Callable[[Routee], bool]


class Picks(Protocol):
    """A strategy with what it remembers."""

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        """One that is alive and has room; None when there is none now.

        Args:
            alive: whether somebody is there who has not turned this message away.
            room: whether its limit lets it be taken.
            number: of the message's key, where the strategy asks for one.
        """
        ...


class RoundRobin:
    """One after the other; those that cannot be taken are passed over."""

    def __init__(self) -> None:
        self._next = 0

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        count = len(routees)
        at = self._next
        for _ in range(count):
            if at >= count:
                at = 0
            routee = routees[at]
            at += 1
            if room(routee) and alive(routee):
                self._next = at
                return routee
        return None


class AtRandom:
    """Any of them, each as likely as the others."""

    def __init__(self, seed: int | None) -> None:
        self._random = Random(seed)

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        if not routees:
            return None
        routee = routees[int(self._random.random() * len(routees))]
        if room(routee) and alive(routee):
            return routee
        # Drawn anew among the others: the next in the row would get the share of each dead neighbour.
        others = [each for each in routees if room(each) and alive(each)]
        return others[int(self._random.random() * len(others))] if others else None


class Least:
    """The one with the smallest measure; equals take turns."""

    def __init__(self, measure: Callable[[Routee], int]) -> None:
        self._measure = measure
        self._next = 0

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        count = len(routees)
        best: Routee | None = None
        least = 0
        at = self._next
        for _ in range(count):
            if at >= count:
                at = 0
            routee = routees[at]
            at += 1
            measured = self._measure(routee)
            if (best is None or measured < least) and room(routee) and alive(routee):
                best, least, self._next = routee, measured, at
                if not measured:
                    break
        return best


class LeastBusy:
    """The one with the fewest calls outstanding; equals take turns. `Least`, with its measure on the spot."""

    def __init__(self) -> None:
        self._next = 0

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        count = len(routees)
        best: Routee | None = None
        least = 0
        at = self._next
        for _ in range(count):
            if at >= count:
                at = 0
            routee = routees[at]
            at += 1
            busy = routee.busy
            # One with nothing outstanding has room, whatever the limit.
            if (best is None or busy < least) and (not busy or room(routee)) and alive(routee):
                best, least, self._next = routee, busy, at
                if not busy:
                    break
        return best


class ConsistentHash:
    """The living one that wants the key most (rendezvous hashing).

    A routee that comes takes its share from all the others, one that goes leaves its keys to all the
    others, and no other key moves. A ring of points does that roughly and by tables; this is exact and
    keeps nothing, for one multiplication per routee and message.
    """

    def pick(self, routees: Sequence[Routee], alive: May, room: May, number: int) -> Routee | None:
        wanting = max(filter(alive, routees), key=lambda routee: routee.weight(number), default=None)
        # A key does not wander because its routee is busy: whoever comes with it waits.
        return wanting if wanting is not None and room(wanting) else None


def picks_of(strategy: RouterStrategy, seed: int | None) -> Picks:
    """The strategy of this name, fresh."""
    match strategy:
        case "random":
            return AtRandom(seed)
        case "least_busy":
            return LeastBusy()
        case "smallest_mailbox":
            return Least(Routee.load)
        case "consistent_hash":
            return ConsistentHash()
        case _:
            return RoundRobin()
