"""Who a router sends to: refs that it was given, or the children that a supervisor has now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ..._kernel._actor import Actor
from ..._kernel._calls import DEFAULT_DEADLINE
from ..._kernel._cell import DEAD, REMOTE
from ..._kernel._errors import NotRunning, UsageError
from ..._kernel._node import this_node
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed
from ..._supervision._supervisor import Supervisor
from ...wire._keys import key_number

_WORD = 2**64 - 1


class Routee:
    """One of a router's actors, and what the router has outstanding with it.

    Args:
        id: what it is called in this router; its share of the keys follows from it alone.
    """

    __slots__ = ("busy", "calls", "id", "ref", "seed")

    def __init__(self, id: Any, ref: ActorRef[Any]) -> None:
        self.id = id
        self.ref = ref if ref._within == DEFAULT_DEADLINE else ref.within(DEFAULT_DEADLINE)
        self.busy = 0
        self.calls = 0
        # As text, so that integers, which are their own numbers, are spread as well.
        self.seed = key_number(f"{type(id).__name__} {id!r}")

    def alive(self) -> bool:
        """Whether somebody is there now, as far as is known here."""
        ref = self.ref
        return ref._cell.state != DEAD or (ref._place is not None and ref._target().state != DEAD)

    def load(self) -> int:
        """Messages that wait there or are in hand; of an actor elsewhere, our own that are outstanding."""
        cell = self.ref._target()
        if cell.state == REMOTE:
            return self.busy
        return (len(cell.mailbox) if cell.mailbox else 0) + (cell.task is not None)

    def weight(self, number: int) -> int:
        """How much it wants the key with this number; whoever wants it most gets it.

        The finaliser of SplitMix64: each bit of the key decides about each bit of the weight.
        """
        mixed = ((number & _WORD) ^ self.seed) * 0x9E3779B97F4A7C15 & _WORD
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _WORD
        return mixed ^ mixed >> 31


class Source(Protocol):
    """Where a router's routees come from."""

    def now(self) -> tuple[Routee, ...]:
        """The routees that are known, in a fixed order."""
        ...

    async def refresh(self, seconds: float | None) -> None:
        """Ask for them where that takes a message."""
        ...

    @property
    def outdated(self) -> bool:
        """Whether they should be asked for before the next call."""
        ...

    def recipe(self) -> tuple[Any, ...]:
        """The arguments of `router` that make the same source elsewhere."""
        ...


class Given:
    """Refs, each under an id. In a plain list these are its positions."""

    outdated = False

    def __init__(self, refs: Mapping[Any, ActorRef[Any]] | Iterable[ActorRef[Any]]) -> None:
        given: Any = refs
        pairs: list[tuple[Any, Any]] = list(
            given.items() if isinstance(given, Mapping) else enumerate(given)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        )
        self._routees: dict[Any, Routee] = {}
        self._next = 0
        for id, ref in pairs:
            self.add(ref, id)
        self._now = tuple(self._routees.values())

    def now(self) -> tuple[Routee, ...]:
        return self._now

    async def refresh(self, seconds: float | None) -> None:
        pass

    def add(self, ref: ActorRef[Any], id: Any) -> None:
        """Add a routee; None for the id takes the next number."""
        given: object = ref
        if not isinstance(given, ActorRef):
            raise UsageError(f"a router takes refs of actors, got {ref!r}")
        if id is None:
            id = self._next
        hashed("a routee's id", id)
        if id in self._routees:
            raise UsageError(f"the router has a routee {id!r} already; remove it first or take another id")
        self._routees[id] = Routee(id, ref)
        self._now = tuple(self._routees.values())
        if isinstance(id, int):
            # Never used twice, so that a routee that is removed does not shift the keys of the others.
            self._next = max(self._next, id + 1)

    def remove(self, routee: object) -> bool:
        """Remove a routee by its id or its ref; False when there is none."""
        for id, each in self._routees.items():
            if each.ref == routee if isinstance(routee, ActorRef) else id == routee:
                del self._routees[id]
                self._now = tuple(self._routees.values())
                return True
        return False

    def recipe(self) -> tuple[Any, ...]:
        return ({id: each.ref for id, each in self._routees.items()},)


class ChildrenOf:
    """The children of a supervisor that are actors of one class.

    Of a supervisor on this loop they are read where it keeps them, so each call sees them as they are.
    One on another node is asked, once a second at most.
    """

    def __init__(self, supervisor: ActorRef[Any], cls: type[Actor]) -> None:
        self._supervisor = supervisor
        self._cls = cls
        self._routees: dict[Any, Routee] = {}
        self._now: tuple[Routee, ...] = ()
        self._seen: tuple[Any, int] | None = None
        self._due = 0.0

    def now(self) -> tuple[Routee, ...]:
        cell = self._supervisor._target()
        if cell.state == DEAD:
            self._seen, self._routees, self._now = None, {}, ()
        elif cell.state != REMOTE:
            tree: Supervisor | None = cell.actor
            if tree is not None and self._seen != (tree, tree._membership):
                self._read(tree)
        return self._now

    @property
    def outdated(self) -> bool:
        cell = self._supervisor._target()
        return cell.state == REMOTE and (
            this_node().loop.time() >= self._due or not any(each.alive() for each in self._now)
        )

    async def refresh(self, seconds: float | None) -> None:
        try:
            children = await self._supervisor.within(seconds).call(Supervisor.which_children)
        except NotRunning:
            children = []
        self._due = this_node().loop.time() + 1.0
        found: dict[Any, Routee] = {}
        for child in reversed(children):
            if child.ref is not None and child.ref._target().info.cls._kb_answers_for(self._cls):
                old = self._routees.get(child.id)
                found[child.id] = old or Routee(child.id, child.ref)
                found[child.id].ref = child.ref
        self._routees, self._now = found, tuple(found.values())

    def _read(self, tree: Supervisor) -> None:
        found: dict[Any, Routee] = {}
        for id, child in tree._children.items():
            target: Any = child.spec.target
            if isinstance(target, type) and issubclass(target, Actor) and target._kb_answers_for(self._cls):
                ref: ActorRef[Any] = tree.ref(self._cls, id)
                old = self._routees.get(id)
                found[id] = old if old is not None and old.ref == ref else Routee(id, ref)
        self._routees, self._now = found, tuple(found.values())
        self._seen = tree, tree._membership

    def recipe(self) -> tuple[Any, ...]:
        return self._supervisor, self._cls


def source_of(routees: Any, cls: Any) -> Given | ChildrenOf:
    """Read the first arguments of `router`.

    Raises:
        UsageError: they are neither refs nor a supervisor and the class of its children.
    """
    if isinstance(routees, Supervisor):
        routees = routees.me
    if not isinstance(routees, ActorRef):
        if isinstance(routees, str):
            raise UsageError(
                f"a router takes refs, or a supervisor and a class; {routees!r} is a name: look it up first, "
                "such as with kb.whereis"
            )
        if cls is not None:
            raise UsageError(f"a class goes with a supervisor, not with refs; got {cls!r} beside {routees!r}")
        try:
            return Given(routees)
        except TypeError as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"a router takes refs, or a supervisor and a class, got {routees!r}") from None
    supervisor: ActorRef[Any] = routees  # pyright: ignore[reportUnknownVariableType]
    if not getattr(supervisor._target().info.cls, "_kb_is_supervisor", False):
        raise UsageError(
            f"a router takes refs, or a supervisor and a class; {supervisor!r} is one ref and no "
            "supervisor: put it in a list"
        )
    if not (isinstance(cls, type) and issubclass(cls, Actor)):
        raise UsageError(
            f"say which children are meant: otp.router(supervisor, Worker), got {cls!r} for the class"
        )
    return ChildrenOf(supervisor, cls)
