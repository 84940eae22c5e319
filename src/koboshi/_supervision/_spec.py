"""Child specs: what to start, and how its supervisor is to treat it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from .._kernel import _bonds
from .._kernel._actor import Actor
from .._kernel._cell import POLICIES, Cell
from .._kernel._errors import UsageError
from .._kernel._process import Process, spawn_cell
from .._kernel._start import launch
from ._options import hashed, one_of
from ._placement import Placement, placement_of
from ._restart import RESTARTS, Backoff, Budget, Restart, backoff_of, budget_of

if TYPE_CHECKING:
    from .._kernel._node import Node
    from .._kernel._place import Place

AC = TypeVar("AC", bound=Actor, covariant=True)
AA = TypeVar("AA", bound=Actor)
P = ParamSpec("P")

Shutdown = float | Literal["kill", "forever"]
Overflow = Literal["reject", "drop_newest", "drop_oldest", "crash"]
OnGiveUp = Literal["escalate", "park"]


@dataclass(frozen=True, slots=True)
class ChildSpec(Generic[AC]):
    """How to start one child and how to look after it; made by `child` and `options`."""

    target: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    id: Any = None
    name: Any = None
    restart: Restart = "permanent"
    shutdown: Shutdown = 5.0
    significant: bool = False
    start_timeout: float | None = None
    mailbox: int | None = None
    overflow: Overflow = "reject"
    backoff: Backoff | None = None
    budget: Budget | None = None
    on_give_up: OnGiveUp = "escalate"
    on: Placement | None = None

    def options(
        self,
        *,
        id: Any = ...,
        name: Any = ...,
        restart: Restart = ...,  # type: ignore[assignment]
        shutdown: Shutdown = ...,  # type: ignore[assignment]
        significant: bool = ...,  # type: ignore[assignment]
        start_timeout: float | None = ...,  # type: ignore[assignment]
        mailbox: int = ...,  # type: ignore[assignment]
        overflow: Overflow = ...,  # type: ignore[assignment]
        backoff: Backoff | tuple[float, ...] | None = ...,  # type: ignore[assignment]
        budget: Budget | tuple[int, float] | None = ...,  # type: ignore[assignment]
        on_give_up: OnGiveUp = ...,  # type: ignore[assignment]
        on: str | Placement | None = ...,  # type: ignore[assignment]
    ) -> ChildSpec[AC]:
        """A copy with other options; those not named stay.

        Args:
            id: how its supervisor knows it; the class's name by default.
            name: registered on the node before it starts.
            restart: "permanent" (always, the default), "transient" (after an unclean end), "temporary".
            shutdown: seconds that it has to stop in, 5 by default, "kill" or "forever" (supervisors).
            significant: its end may end the supervisor, see `auto_shutdown`.
            start_timeout: seconds that `on_start` may take; None, the default, for ever.
            mailbox: how many messages may wait, 65,536 by default.
            overflow: what a full mailbox does: "reject" (default), "drop_newest", "drop_oldest", "crash".
            backoff: a `Backoff`, or (min, max, factor, jitter, reset_after) with the last ones left out.
            budget: (max_restarts, within) of this child alone, besides the supervisor's.
            on_give_up: "escalate" (default), or "park": it stays down and the rest goes on.
            on: where it runs: None, the default, on its supervisor's event loop; "process" in an OS process
                of its own; "thread" on a thread of its own; the name of a node; or a placement such as
                `kb.spread()`.

        Raises:
            UsageError: an option has no such value.
        """
        given = {name: value for name, value in locals().items() if value is not ... and name != "self"}
        if "backoff" in given:
            given["backoff"] = backoff_of(backoff)
        if "budget" in given:
            given["budget"] = budget_of(budget)
        if given.get("on") is not None:
            given["on"] = placement_of(on)
        spec = replace(self, **given)
        spec.check()
        return spec

    def without_arguments(self) -> ChildSpec[AC]:
        """The same options for a child that is never started again."""
        return replace(self, args=(), kwargs={}) if self.args or self.kwargs else self

    def check(self, extra: tuple[Any, ...] | None = None) -> None:
        """Raise `UsageError` for an option with no such value, and for arguments that do not fit.

        Args:
            extra: what the supervisor puts before the arguments; None while that is not known.
        """
        if extra is not None:
            try:
                _signature(self.target).bind(*extra, *self.args, **self.kwargs)
            except TypeError as error:
                raise _misfit(self.target, error) from None
        hashed("an id", self.id)
        one_of("restart", self.restart, RESTARTS)
        one_of("overflow", self.overflow, POLICIES)
        one_of("on_give_up", self.on_give_up, ("escalate", "park"))
        if self.shutdown not in ("kill", "forever") and not (_is_number(self.shutdown, least=0)):
            raise UsageError(f'shutdown takes seconds >= 0, "kill" or "forever", got {self.shutdown!r}')
        if self.start_timeout is not None and not (_is_number(self.start_timeout) and self.start_timeout > 0):
            raise UsageError(f"start_timeout takes seconds > 0 or None, got {self.start_timeout!r}")
        mailbox: object = self.mailbox
        if mailbox is not None and (not isinstance(mailbox, int) or mailbox < 1):
            raise UsageError(f"mailbox takes a whole number >= 1, got {mailbox!r}")
        if not isinstance(self.significant, bool):
            raise UsageError(f"significant takes True or False, got {self.significant!r}")
        if self.significant and self.restart == "permanent":
            raise UsageError(
                "a permanent child cannot be significant, since it never ends for good; "
                'add restart="transient" or restart="temporary"'
            )

    @property
    def default_id(self) -> Any:
        """The id when none was given."""
        return self.id if self.id is not None else getattr(self.target, "__name__", repr(self.target))

    @property
    def is_process(self) -> bool:
        """Whether the child is a bare process."""
        return not isinstance(self.target, type)

    def launch(self, node: Node, parent: Cell, place: Place, extra: tuple[Any, ...] = ()) -> Cell:
        """Start the child, linked to its supervisor, in its place. See `_start.launch`."""
        if self.on is not None:
            return self.on.launch(self, node, parent, place, extra + self.args)

        def prepare(cell: Cell) -> None:
            _bonds.link_to_parent(cell, parent)
            _bonds.bonds_of(cell).place = place
            if self.mailbox is not None:
                cell.limit = self.mailbox
            if self.overflow != "reject":
                cell.own_traits().policy = self.overflow
            if self.name is not None:
                _bonds.register(cell, self.name)

        args = extra + self.args if extra else self.args
        if self.is_process:
            return spawn_cell(node, self.target, args, self.kwargs, parent, prepare)
        return launch(node, self.target._kb_info, args, self.kwargs, parent, prepare)


@functools.lru_cache(maxsize=512)
def _signature(target: Any) -> inspect.Signature:
    return inspect.signature(target)


def _misfit(target: Any, error: TypeError) -> UsageError:
    return UsageError(f"kb.child({target.__name__}, ...) got arguments that do not fit: {error}")


def _is_actor_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Actor)


def _is_number(value: object, *, least: float = -math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


@overload
def child(
    cls: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs
) -> ChildSpec[Process]: ...
@overload
def child(cls: Callable[P, AA], /, *args: P.args, **kwargs: P.kwargs) -> ChildSpec[AA]: ...
def child(cls: Any, /, *args: Any, **kwargs: Any) -> ChildSpec[Any]:
    """Say how to start a child: an actor class, or an `async def` function, with its arguments.

    Raises:
        UsageError: it is neither, or the arguments do not fit its constructor.
    """
    target: Any = cls
    if not _is_actor_class(target) and not inspect.iscoroutinefunction(target):
        made = (
            f"; pass the class and its arguments: kb.child({type(cls).__name__}, ...)"
            if isinstance(cls, Actor)
            else ""
        )
        raise UsageError(f"a child is a subclass of kb.Actor or an async def function, got {cls!r}{made}")
    try:
        # Whether some are missing is known to the supervisor, which may add arguments of its own.
        _signature(target).bind_partial(*args, **kwargs)
    except TypeError as error:
        raise _misfit(target, error) from None
    shutdown: Shutdown = getattr(target, "_kb_shutdown", 5.0)
    return ChildSpec(target, args, kwargs, shutdown=shutdown)
