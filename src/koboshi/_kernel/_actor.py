"""`Actor`: the class that users subclass, and what the runtime knows about each subclass."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Self

from ._bonds import bonds_of
from ._cell import DEFAULT_LIMIT, RUNNING, STOPPING, Cell
from ._errors import NotInProcess, UsageError
from ._events import Unhandled
from ._message import Entry, Protocol, protocol_of
from ._node import this_node
from ._reasons import NORMAL, Down, Exit, ExitReason, as_reason
from ._ref import ActorRef
from ._system import serve
from ._watchdog import guarded


class ActorClass:
    """What the runtime needs of one actor class, worked out once when the class is made."""

    __slots__ = (
        "by_name",
        "cls",
        "limit",
        "name",
        "on_continue",
        "on_down",
        "on_exit",
        "on_idle",
        "on_info",
        "on_start",
        "on_stop",
        "parent_exit",
        "protocol",
        "replaces",
        "stop_request",
        "system",
    )

    def __init__(self, cls: type[Actor]) -> None:
        self.cls: Any = cls
        self.name = cls.__qualname__.rpartition("<locals>.")[2]
        self.protocol: Protocol = protocol_of(cls, cls._kb_guarded_message)
        self.limit = DEFAULT_LIMIT
        # None for callbacks that do nothing unless a subclass has its own: starts and ends are hot.
        self.on_start: Callable[..., Any] | None = _own(cls, "on_start")
        self.on_stop: Callable[..., Any] | None = _own(cls, "on_stop")
        self.on_continue: Callable[..., Any] = cls.on_continue
        self.on_info: Callable[..., Any] = cls.on_info
        self.on_down: Callable[..., Any] = cls.on_down
        self.on_exit: Callable[..., Any] = cls.on_exit
        self.on_idle: Callable[..., Any] = cls.on_idle
        self.parent_exit: Callable[..., Any] = _end_with
        self.stop_request: Callable[..., Any] = _end_with
        # None for processes that nobody serves system messages for.
        self.system: Callable[..., Any] | None = serve
        # Messages by the names that they have between nodes; made when one comes from another node.
        self.by_name: dict[str, Entry] | None = None
        # Classes whose running actors have been given this one, so that refs typed with them lead here.
        self.replaces: tuple[type[Actor], ...] = ()


def _own(cls: type[Actor], name: str) -> Callable[..., Any] | None:
    found: Callable[..., Any] = getattr(cls, name)
    return None if found is getattr(Actor, name) else found


def _nothing() -> None:
    """Takes back a change that was none."""


def _end_with(actor: Actor, reason: ExitReason) -> None:
    """The parent has ended, or somebody called `stop`: end too, now that this message's turn has come."""
    actor._kb_cell.condemn(reason)


class Actor:
    """An object that is reached through messages only, one at a time.

    Methods marked `@message` are what others may send. A handler that raises ends the actor; its
    supervisor, if it has one, starts a new one from the constructor. The callbacks below may be plain
    or `async def`. Without a runtime an actor is an ordinary object: `Counter(2).add(3)`.
    """

    __slots__ = ("__dict__", "__weakref__", "_kb_cell")

    #: Seconds after which a handler that holds the loop in Python code has `HandlerTimeout` raised in
    #: it; needs a running watchdog, as `kb.run` and a root supervisor have one.
    max_handler_time: ClassVar[float | None] = None

    _kb_cell: Cell
    _kb_info: ActorClass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._kb_info = ActorClass(cls)

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        """The around-message hook of upper layers: gives back what is run in a handler's place."""
        return run

    @classmethod
    def _kb_guarded_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        run = cls._kb_around_message(run)
        return run if cls.max_handler_time is None else guarded(run, cls.max_handler_time, this_node)

    @classmethod
    def _kb_answers_for(cls, other: type[Actor]) -> bool:
        """Whether a ref that is typed with `other` may lead to this class."""
        return issubclass(cls, other) or any(issubclass(each, other) for each in cls._kb_info.replaces)

    # -- callbacks ---------------------------------------------------------------------------
    # Positional-only, so that a subclass may name its parameters as it likes.

    def on_start(self) -> Any:
        """Called before the first message. Whoever starts the actor waits for it. May return `IGNORE`."""

    def on_stop(self, reason: ExitReason, /) -> Any:
        """Called before the end, whatever the reason, except after a kill."""

    def on_continue(self, value: Any, /) -> Any:
        """Called with what was given to `continue_with`, before any waiting message."""

    def on_info(self, message: Any, /) -> Any:
        """Called with any object that is not a declared message; the default reports and drops it."""
        cell = this_node().current
        label = type(self).__qualname__ if cell is None else cell.label()
        if cell is not None:
            cell.node.instruments.emit(Unhandled(label, repr(message)))

    def on_down(self, down: Down, /) -> Any:
        """Called when a monitored process has ended; the default hands it to `on_info`."""
        return self.on_info(down)

    def on_exit(self, exit: Exit, /) -> Any:
        """Called, in an actor that traps exits, for each exit signal; the default hands it to `on_info`."""
        return self.on_info(exit)

    def on_idle(self) -> Any:
        """Called when no message has come for the time given to `set_idle_timeout`."""

    def format_status(self) -> object:
        """What logs and observers may see of the state. Override it to leave secrets out."""
        return vars(self)

    def code_change(self, old_version: Any, state: dict[str, Any], /) -> dict[str, Any]:
        """Called when a running actor is given this class; returns its attributes, the old ones by default.

        Args:
            old_version: `version` of the class that it had, None where that has none.
            state: the attributes as they were, in a dict of its own.
        """
        return state

    # -- what an actor asks of its runtime ----------------------------------------------------

    @property
    def me(self) -> ActorRef[Self]:
        """This actor's own address."""
        return ActorRef(self._kb_running())

    def stop(self, reason: object = NORMAL) -> None:
        """End after the message in hand; its reply is sent after `on_stop` has run."""
        cell = self._kb_running()
        if cell.doom is None:
            cell.doom = as_reason(reason)
            if cell.state == RUNNING:
                cell.state = STOPPING
            elif cell.task is None:
                cell.doom = None
                cell.condemn(as_reason(reason))

    def continue_with(self, value: Any = None) -> None:
        """Have `on_continue(value)` called next, before any message that waits."""
        cell = self._kb_running()
        cell.post_first((cell.info.on_continue, value, None, cell.node.context.copy(), None))

    def set_idle_timeout(self, seconds: float | None) -> None:
        """Have `on_idle` called each time no message has come for `seconds`; None turns it off."""
        cell = self._kb_running()
        cell.own_traits().idle_after = seconds
        if cell.mailbox is None:
            # A call that runs on its caller's stack looks at nothing but this for whether to `rest`.
            cell.mailbox = deque()

    def trap_exits(self, on: bool = True) -> None:
        """Get exit signals as `on_exit` messages instead of dying of them."""
        bonds_of(self._kb_running()).traps = on

    # -- what layers above ask of an actor ------------------------------------------------------

    def _kb_attributes(self) -> dict[str, Any]:
        """All that the actor's own code has kept in it, in a new dict."""
        found = {name: getattr(self, name) for name in self._kb_slots() if hasattr(self, name)}
        return found | {name: each for name, each in vars(self).items() if not name.startswith("_kb_")}

    def _kb_set_attributes(self, attributes: dict[str, Any]) -> None:
        """Have exactly these attributes."""
        slots = self._kb_slots()
        for name in self._kb_attributes():
            if name not in attributes:
                delattr(self, name)
        for name, value in attributes.items():
            if name in slots:
                setattr(self, name, value)
            else:
                vars(self)[name] = value

    def _kb_class_changed(self, old_version: Any) -> Callable[[], None]:
        """An upgrade has given it this class: bring into accord what the runtime keeps of it.

        Gives what takes that back. Raises, before anything has changed, for what does not go together.
        """
        return _nothing

    @classmethod
    def _kb_slots(cls) -> list[str]:
        found: list[str] = []
        for base in cls.__mro__:
            named = vars(base).get("__slots__", ())
            found += [named] if isinstance(named, str) else named
        return [name for name in found if not name.startswith(("__", "_kb_"))]

    def _kb_state(self) -> Any:
        """What is shown, and may be replaced, as the actor's state."""
        return self._kb_attributes()

    def _kb_put_state(self, state: Any) -> None:
        """Go on with another state. Raises `UsageError` for what cannot be one."""
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):  # pyright: ignore[reportUnknownVariableType]
            raise UsageError(
                f"the state of a {type(self).__qualname__} is a dict of its attributes by name, got {state!r}"
            )
        self._kb_set_attributes(state)  # pyright: ignore[reportUnknownArgumentType]

    def _kb_running(self) -> Cell:
        """Our cell.

        Raises:
            NotInProcess: this object was made without a runtime, or has ended.
        """
        cell = getattr(self, "_kb_cell", None)
        if cell is None:
            node = this_node()
            cell = node.current
            # In `__init__` the cell is running but does not know its actor yet.
            if cell is None or cell.actor is not None or cell.info is not type(self)._kb_info:
                raise NotInProcess(
                    f"this {type(self).__qualname__} was not started by a runtime; "
                    f"use `await kb.start({type(self).__qualname__}, ...)` or a supervisor"
                )
        return cell


Actor._kb_info = ActorClass(Actor)
