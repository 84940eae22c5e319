"""`PartitionSupervisor`: copies of one child, and a key that says which of them is meant.

One process that everybody talks to is a queue that everybody waits in. Copies of it, each for its share
of the keys, are as many queues; `on=` spreads them over processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from .._kernel._actor import Actor
from .._kernel._errors import ChildError, NameTaken, StartError, UsageError
from .._kernel._message import Message, message
from .._kernel._processors import processors
from .._kernel._ref import ActorRef
from .._kernel._self import nobody
from .._kernel._start import Ignored
from .._supervision._child import Child
from .._supervision._options import hashed, whole
from .._supervision._restart import Backoff, Strategy
from .._supervision._root import request
from .._supervision._spec import ChildSpec
from .._supervision._supervisor import Supervisor
from ..wire._keys import key_number
from ._answering import on_this_loop
from ._target import ref_to

__all__ = ["NoPartitions", "PartitionSupervisor", "Partitions", "partition_number", "partitions"]

AA = TypeVar("AA", bound=Actor)
AC = TypeVar("AC", bound=Actor, covariant=True)
P = ParamSpec("P")
R = TypeVar("R")

_BY_IDENTITY: Any = object.__hash__


class NoPartitions(ChildError):
    """A key was looked up in a partition supervisor that has been resized to 0."""


def partition_number(key: Any, count: int) -> int:
    """Which of `count` partitions a key belongs to: an integer modulo `count`, anything else by its hash.

    Of a negative integer the absolute value counts. The hash of a float, str, bytes, UUID, None, or a
    tuple of these is the same in every process and every run. For anything else it is Python's own, which
    for most values changes from run to run.

    Raises:
        UsageError: the key cannot be hashed, or is equal to nothing but itself.
    """
    try:
        number = key_number(key)
    except UsageError:
        number = _own_hash(key)
    return abs(number) % count


def _own_hash(key: Any) -> int:
    number = hashed("a key", key)
    if type(key).__hash__ is _BY_IDENTITY:
        raise UsageError(
            f"{key!r} is equal to nothing but itself, so another process could not name it; use its id"
        )
    return number


class PartitionSupervisor(Supervisor):
    """Looks after `partitions` copies of one child; `partitions(ref)` finds the one that a key belongs to.

    Args:
        child: the spec of each copy, or a function that gives it for an index, counted from 0:
            `lambda index: kb.child(Shard, index).options(on=f"n{index % 2}")`.
        partitions: how many, at least 1; by default as many as this process may use processors.
        strategy, max_restarts, within, backoff: as for a supervisor; the budget is for all copies together.

    Raises:
        UsageError: an option has no such value, or the spec has a name, which only one process can have.
    """

    def __init__(
        self,
        child: ChildSpec[Any] | Callable[[int], ChildSpec[Any]],
        *,
        partitions: int | None = None,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within: float = 5.0,
        backoff: Backoff | tuple[float, ...] | None = None,
    ) -> None:
        count = processors() if partitions is None else whole("partitions", partitions, 1)
        options: dict[str, Any] = {
            "strategy": strategy,
            "max_restarts": max_restarts,
            "within": within,
            "backoff": backoff,
        }
        super().__init__(**options)
        if isinstance(child, ChildSpec) and child.name is not None:
            raise UsageError(
                f"every copy would have the name {child.name!r}; pass a function that gives each its own: "
                "lambda index: kb.child(...).options(name=(..., index))"
            )
        self._template: Any = child
        self._specs = tuple(self._spec_of(index) for index in range(count))
        # How many partitions keys are dealt out to; changed only when all of them are there.
        self._size = count
        self._made_with = (child,), {"partitions": count, **options}

    def _spec_of(self, index: int) -> ChildSpec[Any]:
        template = self._template
        if not isinstance(template, ChildSpec):
            if not callable(template):
                raise UsageError(f"child is a child spec or a function of an index, got {template!r}")
            template = template(index)
        if not isinstance(template, ChildSpec):
            raise UsageError(f"the function gave {template!r} for partition {index} instead of a child spec")
        # Not options(): the id is ours, whatever the spec says.
        spec: ChildSpec[Any] = template.options(id=index)  # pyright: ignore[reportUnknownVariableType]
        return self._accept(spec)

    @property
    def size(self) -> int:
        """How many partitions there are."""
        return self._size

    def partition(self, cls: type[AA], key: Any) -> ActorRef[AA]:
        """A stable ref to the partition that a key belongs to; it survives restarts of that one.

        Raises:
            NoPartitions: there are none.
            UsageError: it is an actor of another class, or no key.
        """
        if not self._size:
            raise NoPartitions(
                f"{self!r} was resized to 0 partitions, so no key belongs to any; resize it again"
            )
        return self._partition_at(cls, partition_number(key, self._size))

    def _partition_at(self, cls: type[AA], index: int) -> ActorRef[AA]:
        child = self._children.get(index)
        if child is not None and child.cell is not None:
            return self.ref(cls, index)
        # Its start is still to come, or it has ended for good: a send will say so.
        return ActorRef(nobody(cls), self._place().inner(index))

    @message
    def find(self, cls: type[Actor], key: Any) -> ActorRef[Any]:
        """`partition`, for other nodes; a lookup that fails is the caller's error."""
        return self.partition(cls, key)

    @message
    def find_all(self, cls: type[Actor]) -> list[ActorRef[Any]]:
        """Stable refs to all partitions, by index."""
        return [self._partition_at(cls, index) for index in range(self._size)]

    @request
    async def resize(self, partitions: int) -> int:
        """Start or stop copies until there are `partitions`; gives how many there were.

        While more are started, keys belong to the old ones; keys of those that are to stop belong to the
        others from the beginning. What a stopped copy had in its mailbox is lost.

        Raises:
            StartError, NameTaken: one did not start. Those before it are stopped, the size is as it was.
            UsageError: no such number, or no spec for an index.
        """
        count, old = whole("partitions", partitions, 0), self._size
        if count < old:
            self._size = count
            for index in reversed(range(count, old)):
                await self._drop(self._children.get(index))
        else:
            await self._add(range(old, count))
            self._size = count
        return old

    async def _add(self, indexes: range) -> None:
        try:
            specs = [self._spec_of(index) for index in indexes]
        except UsageError:
            raise
        except Exception as error:  # the user's function; what runs already is none of its business
            raise UsageError(f"the function that gives specs raised {error!r}") from error
        added: list[Child] = []
        for spec in specs:
            child = self._new_child(spec.id, spec)
            added.append(child)
            try:
                await self._bring_up(child)
            except Ignored:
                self._leave_down(child)
            except (StartError, NameTaken):
                for each in reversed(added):
                    await self._drop(each)
                raise

    async def _drop(self, child: Child | None) -> None:
        if child is not None:
            await self._stop(child)
            self._forget(child)
            if child is self._retrying:
                await self._start_pending()  # those that its failing start kept waiting

    # A message is contravariant in its actor, so each one that is overridden narrows what it takes.
    @request
    async def start_child(self, spec: ChildSpec[Any]) -> ActorRef[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Refused: copies are added by `resize`."""
        raise UsageError("a partition supervisor has copies of one child only; `resize` adds one")

    @request
    async def delete_child(self, id: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Refused: copies are taken away by `resize`."""
        raise UsageError("keys belong to every partition; `resize` takes the last one away")


class Partitions(Generic[AC]):
    """Finds partitions by key, from any node; made by `partitions`.

    It keeps nothing but the supervisor's address, so it survives its restarts as far as the ref does.
    """

    __slots__ = ("_cls", "_ref")

    def __init__(self, ref: ActorRef[PartitionSupervisor], cls: type[AC]) -> None:
        self._ref = ref
        self._cls = cls

    async def ref(self, key: Any) -> ActorRef[AC]:
        """A stable ref to the partition that a key belongs to; it survives restarts of that one.

        On the supervisor's own event loop this waits for nothing; from another node it is a call.

        Raises:
            NoPartitions: there are none.
            UsageError: it is an actor of another class, or no key.
            NotRunning, ActorExited, CallTimeout: the supervisor cannot be asked.
        """
        here = on_this_loop(self._ref, PartitionSupervisor, "the search for a partition")
        return await self._ref.call(_FIND, self._cls, key) if here is None else here.partition(self._cls, key)

    async def refs(self) -> list[ActorRef[AC]]:
        """Stable refs to all partitions, by index. Raises as `ref`."""
        here = on_this_loop(self._ref, PartitionSupervisor, "the search for all partitions")
        if here is None:
            return await self._ref.call(_ALL, self._cls)
        return [here._partition_at(self._cls, index) for index in range(here.size)]

    async def call(
        self: Partitions[AA], key: Any, message: Message[AA, P, R, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call the partition that a key belongs to. Raises as `ref` and `ActorRef.call`."""
        return await (await self.ref(key)).call(message, *args, **kwargs)

    async def send(
        self: Partitions[AA],
        key: Any,
        message: Message[AA, P, Any, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Send to the partition that a key belongs to. Raises as `ref` and `ActorRef.send`."""
        await (await self.ref(key)).send(message, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<Partitions of {self._cls.__name__} at {self._ref!r}>"


_FIND = PartitionSupervisor.find
_ALL = PartitionSupervisor.find_all


def partitions(supervisor: ActorRef[PartitionSupervisor] | Any, cls: type[AA]) -> Partitions[AA]:
    """How a partition supervisor's copies are found by key: `partitions("shards", Shard)`.

    Args:
        supervisor: its ref, or its registered name.
        cls: the class of the copies.
    """
    return Partitions(ref_to(supervisor, PartitionSupervisor), cls)
