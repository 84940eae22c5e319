"""`Agent`: a value with a process around it. Whoever wants to read or change it sends a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .._kernel._actor import Actor
from .._kernel._errors import UsageError
from .._kernel._message import message
from .._kernel._reasons import NORMAL
from .._kernel._ref import ActorRef
from ._target import ref_to

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class AgentStatistics:
    """How often an agent's value was read, and changed, since it started."""

    reads: int
    updates: int


class _Messages(Actor):
    """What every agent answers, whatever its value is."""

    _value: Any
    _reads = 0
    _updates = 0

    @message
    def get(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `fn(value, *args)` returns."""
        self._reads += 1
        return fn(self._value, *args, **kwargs)

    @message
    def update(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Go on with what `fn(value, *args)` returns."""
        self._updates += 1
        self._value = _value_of(fn, fn(self._value, *args, **kwargs))

    @message
    def get_and_update(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """`fn(value, *args)` returns a reply and the next value."""
        self._updates += 1
        both = fn(self._value, *args, **kwargs)
        if not isinstance(both, tuple) or len(both) != 2:  # pyright: ignore[reportUnknownArgumentType]
            raise UsageError(f"{fn!r} was to return (reply, next value) for get_and_update, got {both!r}")
        reply, value = both  # pyright: ignore[reportUnknownVariableType]
        self._value = _value_of(fn, value)  # pyright: ignore[reportUnknownArgumentType]
        return reply  # pyright: ignore[reportUnknownVariableType]

    @message
    def statistics(self) -> AgentStatistics:
        """How often the value was read and changed."""
        return AgentStatistics(self._reads, self._updates)

    def format_status(self) -> object:
        return self._value

    def _kb_state(self) -> Any:
        return self._value

    def _kb_put_state(self, state: Any) -> None:
        self._value = state


# They are the agent's, as far as anybody sees.
for _each in (_Messages.get, _Messages.update, _Messages.get_and_update, _Messages.statistics):
    _each.__qualname__ = f"Agent.{_each.__name__}"


class Agent(_Messages, Generic[S]):
    """Keeps one value and runs functions over it, one at a time: `kb.child(otp.Agent, dict)`.

    A function that raises is a crash of the agent, as any handler's is: who sent it gets `ActorExited`.

    Args:
        make: called in the agent for the first value; a plain function or a class.
        args, kwargs: its arguments.
    """

    def __init__(self, make: Callable[..., S], /, *args: Any, **kwargs: Any) -> None:
        _check(make)
        self._value: S = _value_of(make, make(*args, **kwargs))

    def __repr__(self) -> str:
        cell = getattr(self, "_kb_cell", None)
        return f"<{type(self).__qualname__} {'not started' if cell is None else cell.label()}>"


class AgentHandle(Generic[S]):
    """An agent by its address; made by `agent`. Functions run in the agent, not where they are sent from.

    To an agent of another node a function goes by its name, so it stands at the top level of a module;
    lambdas and functions inside functions are for agents of the same process.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Agent[S]]) -> None:
        self._ref = ref

    @property
    def ref(self) -> ActorRef[Agent[S]]:
        """The agent's ref."""
        return self._ref

    def within(self, seconds: float | None) -> AgentHandle[S]:
        """The same agent with another deadline than 5 s; None waits for ever."""
        return AgentHandle(self._ref.within(seconds))

    async def get(self, fn: Callable[Concatenate[S, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What `fn(value, *args)` returns.

        Raises:
            ActorExited: `fn` raised, and ended the agent.
            UsageError: `fn` is no plain function.
            NotPicklable: the agent is on another node, and `fn` or an argument cannot be sent there.
            CallTimeout, NotRunning, CallCycle: as `ref.call`.
        """
        _check(fn)
        result: R = await self._ref.call(_Messages.get, fn, *args, **kwargs)
        return result

    async def update(self, fn: Callable[Concatenate[S, P], S], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have the agent go on with what `fn(value, *args)` returns. Raises as `get`."""
        _check(fn)
        await self._ref.call(_Messages.update, fn, *args, **kwargs)

    async def get_and_update(
        self, fn: Callable[Concatenate[S, P], tuple[R, S]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """`fn(value, *args)` returns a reply and the next value; returns the reply. Raises as `get`."""
        _check(fn)
        result: R = await self._ref.call(_Messages.get_and_update, fn, *args, **kwargs)
        return result

    def cast(self, fn: Callable[Concatenate[S, P], S], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """As `update`, without waiting for it."""
        _check(fn)
        self._ref.cast(_Messages.update, fn, *args, **kwargs)

    async def statistics(self) -> AgentStatistics:
        """How often the value was read and changed."""
        return await self._ref.call(_Messages.statistics)

    async def stop(self, reason: object = NORMAL, *, timeout: float | None = 5.0) -> None:
        """End the agent after what was sent to it before; see `ref.stop`."""
        await self._ref.stop(reason, timeout=timeout)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AgentHandle) and self._ref == other._ref  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<AgentHandle of {self._ref!r}>"


@overload
def agent(ref: ActorRef[Agent[S]], /) -> AgentHandle[S]: ...
@overload
def agent(name: str | tuple[Any, ...], /) -> AgentHandle[Any]: ...
def agent(ref: Any, /) -> AgentHandle[Any]:
    """A handle on an agent, from its ref or its registered name.

    Raises:
        UsageError: it is neither, or a ref to an actor of another class.
    """
    cls: type[Agent[Any]] = Agent
    return AgentHandle(ref_to(ref, cls))


def _value_of(fn: object, value: S) -> S:
    """What a function has made, unless nobody would ever await it."""
    if inspect.iscoroutine(value):
        value.close()
        raise UsageError(
            f"an agent's value is what a plain function returns, and {fn!r} returned a coroutine"
        )
    return value


def _check(fn: object) -> None:
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise UsageError(f"an agent runs plain functions of its value, got {fn!r}")
