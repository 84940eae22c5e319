"""`@message`: which methods an actor answers, and what may be passed to them.

`@message` gives the function itself back, marked. So `Counter.add` on the class is that very
function, `Counter().add` is the plain bound method at full speed, and an actor class is tested
without any runtime. For type checkers the decorator is a `Message`, generic in the actor, the
parameters, the reply and what the method itself returns; this is what lets `ref.call(Counter.add, 3)`
be checked argument by argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from ._errors import UsageError

if TYPE_CHECKING:
    from typing import Self

    from ._actor import Actor

A_contra = TypeVar("A_contra", bound="Actor", contravariant=True)
AA = TypeVar("AA", bound="Actor")
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
W_co = TypeVar("W_co", covariant=True)

MARK = "__koboshi_message__"


class Message(Generic[A_contra, P, R_co, W_co]):
    """The type of a method marked with `@message`, seen on its class. Never instantiated."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str

        @overload
        def __get__(self, obj: None, owner: type[Any]) -> Self: ...
        @overload
        def __get__(self, obj: object, owner: type[Any]) -> Callable[P, W_co]: ...
        def __get__(self, obj: object, owner: type[Any]) -> Any: ...


if TYPE_CHECKING:

    @overload
    def message(
        fn: Callable[Concatenate[AA, P], Coroutine[Any, Any, R]],
    ) -> Message[AA, P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def message(fn: Callable[Concatenate[AA, P], R]) -> Message[AA, P, R, R]: ...
    def message(fn: Any) -> Any: ...

else:

    def message(fn):
        """Mark a method as a message that refs may call, cast or send.

        Raises:
            UsageError: it is not a plain `def` or `async def` method, or its name is one that the
                runtime itself calls.
        """
        if not callable(fn) or not hasattr(fn, "__code__"):
            raise UsageError(
                f"@message marks a method written with def or async def, got {fn!r}; put @message outermost "
                "and leave staticmethod, classmethod and property away"
            )
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise UsageError(f"@message {fn.__qualname__} yields; a message answers once, with return")
        if fn.__name__ in CALLBACKS:
            raise UsageError(f"{fn.__qualname__} is called by the runtime, so it cannot be a message as well")
        setattr(fn, MARK, True)
        return fn


CALLBACKS = frozenset(
    {
        *("__init__", "on_start", "on_continue", "on_stop", "on_info", "on_down", "on_exit", "on_idle"),
        *("code_change", "format_status"),
    }
)


class Entry:
    """One message of an actor class: the function that runs, and how many arguments it takes."""

    __slots__ = ("count", "counts", "fn", "is_async", "name", "signature")

    def __init__(self, fn: Callable[..., Any], run: Callable[..., Any]) -> None:
        self.fn = run
        self.name = fn.__qualname__
        self.is_async = inspect.iscoroutinefunction(run)
        self.signature = inspect.signature(fn)
        # Numbers of positional arguments that surely fit when there are no keywords, so that
        # the common case costs one comparison and never binds a signature.
        self.counts = _fitting_counts(self.signature)
        self.count = max(self.counts, default=-1)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise `UsageError` at the sender when the arguments cannot be passed to the method."""
        if not kwargs and len(args) in self.counts:
            return
        try:
            self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            shown = str(self.signature).replace("(self, ", "(").replace("(self)", "()")
            raise UsageError(f"{self.name}{shown} was sent arguments that do not fit: {error}") from None


def _fitting_counts(signature: inspect.Signature) -> frozenset[int]:
    least = most = 0
    for parameter in list(signature.parameters.values())[1:]:
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += required
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most += 8
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            return frozenset()
    return frozenset(range(least, most + 1))


Protocol = dict[Any, Entry]


def protocol_of(cls: type[Any], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Protocol:
    """All messages of an actor class, by the function that names them.

    A message overridden in a subclass is found under the base's name as well, so a ref typed with
    the base class reaches the override. `wrap` is the around-message hook.
    """
    protocol: Protocol = {}
    named: dict[str, Entry] = {}
    for base in cls.__mro__:
        for name, fn in vars(base).items():
            if not (isinstance(fn, FunctionType) or hasattr(fn, "__code__")) or not getattr(fn, MARK, False):
                continue
            if name not in named:
                current = getattr(cls, name)
                named[name] = Entry(current, wrap(current))
            protocol[fn] = named[name]
    return protocol


def wire_name(entry: Entry) -> str:
    """What a message is called on its way to another node, and in another version of its class."""
    return entry.name.rpartition(".")[2]


def answer_for(old: Protocol, new: Protocol) -> None:
    """Have what is sent by the functions of `old` reach the messages of the same names in `new`."""
    by_name = {wire_name(entry): entry for entry in new.values()}
    for fn, entry in old.items():
        successor = by_name.get(wire_name(entry))
        if successor is not None:
            new.setdefault(fn, successor)


def describe(message: object) -> str:
    """How a message prints in errors and reports."""
    if isinstance(message, Entry):
        return message.name
    name = getattr(message, "__qualname__", None)
    return name if isinstance(name, str) else repr(message)


def no_attribute(
    obj: object, name: str, protocol: Mapping[Any, Entry] | None, call: str = "ref.call"
) -> AttributeError:
    """The error for an attribute that an address does not have: maybe it was meant as a message.

    Args:
        protocol: the messages of whoever is there, if it has any.
        call: how one of them is called.
    """
    entries = () if protocol is None or name.startswith("_") else protocol.values()
    found = next((each.name for each in entries if each.name.rpartition(".")[2] == name), None)
    text = f"{type(obj).__name__!r} object has no attribute {name!r}"
    if found is not None:
        text = f"{found} is a message, call it by that: await {call}({found}, ...)"
    return AttributeError(text, name=name, obj=obj)


def no_such_message(name: str, protocol: Mapping[Any, Entry], message: Any) -> UsageError:
    """Why something cannot be sent to an actor of the class `name`."""
    known = sorted({entry.name for entry in protocol.values()})
    listed = ", ".join(known) if known else "none"
    if isinstance(message, str):
        return UsageError(
            f"messages are sent by reference: pass {name}.{message}, not the string {message!r}; "
            f"the messages of {name} are: {listed}"
        )
    if getattr(message, "__self__", None) is not None:
        return UsageError(
            f"{describe(message)} is bound to an instance; pass the message of the class, such as "
            f"{name}.{getattr(message, '__name__', '...')}"
        )
    if getattr(message, MARK, False):
        return UsageError(
            f"{describe(message)} is not a message of {name}; the messages of {name} are: {listed}"
        )
    return UsageError(
        f"{describe(message)} is not marked with @kb.message, so {name} cannot be sent it; "
        f"the messages of {name} are: {listed}"
    )
