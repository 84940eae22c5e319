"""`EventHandler`: the class to subclass, and how one is ordered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, ParamSpec, TypeVar

from ..._kernel._errors import NotInProcess, UsageError
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed

H_co = TypeVar("H_co", bound="EventHandler", covariant=True)
H = TypeVar("H", bound="EventHandler")
P = ParamSpec("P")


class EventHandler:
    """One of the handlers of an event manager: an object with a state of its own, made and called there.

    Callbacks may be plain or `async def`; the manager waits for each. One that raises costs this handler and
    nobody else.
    """

    # Set by the manager.
    _kb_manager: ActorRef[Any]
    _kb_remove: bool = False
    _kb_swap: HandlerSpec[Any] | None = None

    def on_start(self, handed_over: Any, /) -> Any:
        """Called when it is installed.

        Args:
            handed_over: what its predecessor's `on_stop` returned, if it was swapped in; else None.
        """

    def on_event(self, event: Any, /) -> Any:
        """Called with each event, in the order in which handlers were added."""

    def on_call(self, request: Any, /) -> Any:
        """Called with a request to this very handler; returns the reply. By default it is refused."""

    def on_info(self, message: Any, /) -> Any:
        """Called with any object that was sent to the manager by `tell`."""

    def on_stop(self, reason: Any, /) -> Any:
        """Called before it goes; returns what its successor, or who deletes it, is given.

        Args:
            reason: what the caller of `delete_handler` or `swap_handler` gave; else an exit reason:
                `Normal()` when it removes itself, `Crashed(error)` when it has failed, how its manager or its
                supervising process has ended.
        """

    def format_status(self) -> object:
        """What logs and observers may see of the state. Override it to leave secrets out."""
        return self._kb_attributes()

    # -- what it asks of its manager -------------------------------------------------------------

    @property
    def manager(self) -> ActorRef[Any]:
        """The manager's ref."""
        try:
            return self._kb_manager
        except AttributeError:
            raise NotInProcess(f"this {type(self).__qualname__} is installed in no event manager") from None

    def remove(self) -> None:
        """Be removed after the callback in hand."""
        self._kb_remove = True

    def swap(self, spec: HandlerSpec[Any]) -> None:
        """Be replaced after the callback in hand; the new one gets what `on_stop` returns."""
        self._kb_swap = checked(spec)

    def _kb_attributes(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_kb_")}


@dataclass(frozen=True, slots=True)
class HandlerSpec(Generic[H_co]):
    """How to make a handler; made by `handler` and `options`."""

    cls: Callable[..., H_co]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    given_id: Any = None

    @property
    def id(self) -> Any:
        """What the manager knows it by: the class's name unless another one was given."""
        return self.given_id if self.given_id is not None else getattr(self.cls, "__name__", repr(self.cls))

    def options(self, *, id: Any) -> HandlerSpec[H_co]:
        """A copy with an id of its own, so that a class can be installed more than once.

        Raises:
            UsageError: it cannot be a key.
        """
        hashed("an id", id)
        return replace(self, given_id=id)


def handler(cls: Callable[P, H], /, *args: P.args, **kwargs: P.kwargs) -> HandlerSpec[H]:
    """Say how to make a handler: its class, with the arguments. It is made in the manager.

    Raises:
        UsageError: it is no subclass of `EventHandler`.
    """
    given: object = cls
    if not isinstance(given, type) or not issubclass(given, EventHandler):
        raise UsageError(
            f"a handler is a subclass of otp.EventHandler with its arguments, got {given!r}; "
            "write otp.handler(Name, ...)"
        )
    return HandlerSpec(cls, args, kwargs)


def checked(spec: object) -> HandlerSpec[Any]:
    """The spec itself; raises `UsageError` for what is none."""
    if not isinstance(spec, HandlerSpec):
        raise UsageError(f"expected otp.handler(Name, ...), got {spec!r}")
    return spec  # pyright: ignore[reportUnknownVariableType]
