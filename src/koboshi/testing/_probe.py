"""Probes: actors that a test holds in its hand.

A probe takes whatever comes and keeps it until the test asks. It can monitor and link, so that a test sees
ends as another actor would; and it can stand in for an actor of a class, whose calls it records and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Generic, Self, TypeVar, cast, overload

from .._kernel._actor import Actor
from .._kernel._bonds import Monitor
from .._kernel._errors import KoboshiError, UsageError
from .._kernel._message import MARK, Message
from .._kernel._reasons import Down, Exit, ExitReason
from .._kernel._ref import ActorRef
from .._kernel._reply import ReplyTo, defer
from .._kernel._self import link, monitor, start, trap_exits, unlink
from ._idle import wait_idle

A = TypeVar("A", bound=Actor)
B = TypeVar("B", bound=Actor)
T = TypeVar("T")

Expected = Any  # a class, a predicate or a value


class Unexpected(KoboshiError, AssertionError):
    """A probe was not sent what the test expects, or was sent what it refuses.

    Attributes:
        wanted: what the test has asked for.
        came: how the messages print that lie in the probe, the oldest first.
    """

    def __init__(self, text: str, *, wanted: str, came: tuple[str, ...]) -> None:
        shown = "".join(f"\n  {each}" for each in came) or " nothing"
        super().__init__(f"{text}; in the mailbox:{shown}")
        self.wanted = wanted
        self.came = came


@dataclass(eq=False)
class ReceivedCall:
    """A declared message that a probe of a class was sent.

    Attributes:
        message: the method, as `Counter.add`.
        args, kwargs: what it was given.
    """

    message: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    _reply: ReplyTo[Any] = field(repr=False)

    def reply(self, value: object) -> bool:
        """Answer the call; False when nobody waits, as after a cast."""
        return self._reply.send(value)

    def fail(self, error: BaseException) -> bool:
        """Let the call raise; False when nobody waits."""
        return self._reply.fail(error)

    def __repr__(self) -> str:
        given = [repr(each) for each in self.args]
        given += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.message.__qualname__}({', '.join(given)})"


@dataclass
class _Do:
    """Something that the probe is to do as itself."""

    act: Callable[[], Any]
    done: ReplyTo[Any]


class _Inbox(Actor):
    """What every probe is underneath."""

    def __init__(self, probe: Probe[Any], traps: bool) -> None:
        self._probe = probe
        self._traps = traps

    def on_start(self) -> None:
        trap_exits(self._traps)

    def on_stop(self, reason: ExitReason, /) -> None:
        """What a class that the probe stands in for does at its end is not done."""

    def on_idle(self) -> None:
        """Nor when it is idle."""

    def on_info(self, message: Any, /) -> None:
        if not isinstance(message, _Do):
            self._probe._put(message)
            return
        try:
            message.done.send(message.act())
        except Exception as error:  # the test's request is refused, and the probe goes on
            message.done.fail(error)

    def on_down(self, down: Down, /) -> None:
        self._probe._put(down)

    def on_exit(self, exit: Exit, /) -> None:
        self._probe._put(exit)


class Probe(Generic[A]):
    """An actor that keeps its mail for the test: `probe = await Probe.start()`.

    Attributes:
        ref: its address.
        calls: declared messages that it was sent so far, when it stands in for a class.
    """

    ref: ActorRef[A]

    def __init__(self) -> None:
        self.calls: list[ReceivedCall] = []
        self._mail: list[Any] = []
        self._news = asyncio.Event()
        self._script: dict[str, Any] = {}
        self._last: Any = None

    @classmethod
    async def start(cls, *, traps: bool = True) -> Probe[Actor]:
        """A probe for objects, ends and exits; it traps exits unless told otherwise."""
        probe: Probe[Actor] = Probe()
        probe.ref = await start(_Inbox, probe, traps)
        return probe

    @classmethod
    async def of(cls, actor: type[B], /, *, traps: bool = True) -> Probe[B]:
        """A probe that stands in for an actor of a class: its ref takes what such an actor's would."""
        if not _is_actor(actor):
            raise UsageError(f"Probe.of takes a subclass of kb.Actor, got {actor!r}")
        probe: Probe[B] = Probe()
        probe.ref = await start(_stand_in(actor), probe, traps)
        return probe

    # -- what has come ---------------------------------------------------------------------------

    @overload
    async def expect(self, wanted: type[T], /, *, timeout: float = 1.0) -> T: ...
    @overload
    async def expect(self, wanted: Any, /, *, timeout: float = 1.0) -> Any: ...
    async def expect(self, wanted: Any, /, *, timeout: float = 1.0) -> Any:
        """Take out the oldest message that fits, waiting for one if need be; others stay.

        Args:
            wanted: a class, a predicate (any other callable), or a value to compare with.
            timeout: seconds of the loop's time.

        Raises:
            Unexpected: none has come in time; the error shows what has.
        """
        fits = _matcher(wanted)
        found, message = await self._wait(fits, timeout)
        if not found:
            raise self._unexpected(f"expected {_shown(wanted)} within {timeout:g} s", wanted)
        self._take(message)
        self._last = message
        return message

    async def refuse(self, *unwanted: Expected, within: float = 0.0) -> None:
        """Fail if a message that fits is there or comes; without arguments, any message.

        Args:
            unwanted: as in `expect`.
            within: seconds of the loop's time; with 0, until all that can be handled now has been.

        Raises:
            Unexpected: there is one.
        """
        tests = [_matcher(each) for each in unwanted]

        def fits(message: Any) -> bool:
            return not tests or any(test(message) for test in tests)

        if within == 0:
            await wait_idle()
        found, message = await self._wait(fits, within)
        if found:
            what = " or ".join(_shown(each) for each in unwanted) or "any message"
            raise self._unexpected(f"refused {what}, and {message!r} came", what)

    async def expect_call(
        self, message: Message[Any, Any, Any, Any], *, timeout: float = 1.0
    ) -> ReceivedCall:
        """Take out the oldest call or cast of a declared message, and answer it with `reply`."""
        name = getattr(message, "__name__", None)

        def is_it(each: Any) -> bool:
            return isinstance(each, ReceivedCall) and each.message.__name__ == name

        found, call = await self._wait(is_it, timeout)
        if not found:
            wanted = getattr(message, "__qualname__", repr(message))
            raise self._unexpected(f"expected a call of {wanted} within {timeout:g} s", wanted)
        self._take(call)
        self._last = call
        assert isinstance(call, ReceivedCall)
        return call

    async def expect_down(self, ref: ActorRef[Any], reason: object = None, *, timeout: float = 1.0) -> Down:
        """Take out the `Down` of a monitored process; `reason` is a class or a value, None for any."""
        return await self._expect_end(Down, "target", ref, reason, timeout)

    async def expect_exit(self, ref: ActorRef[Any], reason: object = None, *, timeout: float = 1.0) -> Exit:
        """Take out the exit signal of a process; `reason` is a class or a value, None for any."""
        return await self._expect_end(Exit, "sender", ref, reason, timeout)

    async def _expect_end(
        self, kind: type[T], who: str, ref: ActorRef[Any], reason: object, timeout: float
    ) -> T:
        fits_reason = _matcher(object if reason is None else reason)

        def is_it(each: Any) -> bool:
            return (
                isinstance(each, kind) and getattr(each, who) == ref and fits_reason(cast("Any", each).reason)
            )

        found, end = await self._wait(is_it, timeout)
        if not found:
            because = "" if reason is None else f" for {_shown(reason)}"
            what = f"{kind.__name__} of {ref!r}{because}"
            raise self._unexpected(f"expected {what} within {timeout:g} s", what)
        self._take(end)
        self._last = end
        assert isinstance(end, kind)
        return end

    # -- what it does ------------------------------------------------------------------------------

    def reply(self, value: object) -> bool:
        """Answer the message that was expected last: a call, or an object that holds a `ReplyTo`.

        Raises:
            UsageError: it holds none.
        """
        return self._reply_address().send(value)

    def answer(self, message: Message[Any, Any, Any, Any], value: object) -> None:
        """Have each further call of a declared message answered at once.

        Args:
            message: the method, as `Counter.add`.
            value: the reply; an exception is raised at the caller; a function is called with the
                arguments for the reply.
        """
        name = getattr(message, "__name__", None)
        if not isinstance(name, str) or not getattr(message, MARK, False):
            raise UsageError(f"message must be a method marked with @message, got {message!r}")
        self._script[name] = value

    async def monitor(self, ref: ActorRef[Any]) -> Monitor:
        """Monitor as this probe."""
        result: Monitor = await self._do(lambda: monitor(ref))
        return result

    async def link(self, ref: ActorRef[Any]) -> None:
        """Link this probe with a process."""
        await self._do(lambda: link(ref))

    async def unlink(self, ref: ActorRef[Any]) -> None:
        """Untie the two."""
        await self._do(lambda: unlink(ref))

    async def stop(self) -> None:
        """End the probe."""
        await self.ref.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.ref.alive:
            await self.ref.stop()

    def __repr__(self) -> str:
        return f"<Probe {self.ref!r} holding {len(self._mail)}>"

    # -- inside --------------------------------------------------------------------------------------

    async def _do(self, act: Callable[[], Any]) -> Any:
        return await self.ref.ask(lambda done: _Do(act, done))

    def _put(self, message: Any) -> None:
        self._mail.append(message)
        self._news.set()

    def _called(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = ReceivedCall(fn, args, kwargs, defer())
        self.calls.append(call)
        if fn.__name__ not in self._script:
            self._put(call)
            return
        answer = self._script[fn.__name__]
        if isinstance(answer, BaseException):
            call.fail(answer)
        elif callable(answer):
            try:
                call.reply(answer(*args, **kwargs))
            except Exception as error:  # the script's way to refuse some calls
                call.fail(error)
        else:
            call.reply(answer)

    async def _wait(self, fits: Callable[[Any], bool], seconds: float) -> tuple[bool, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            for message in self._mail:
                if fits(message):
                    return True, message
            left = until - loop.time()
            if left <= 0:
                return False, None
            self._news.clear()
            try:
                async with asyncio.timeout(left):
                    await self._news.wait()
            except TimeoutError:
                continue  # looks once more: it may have come together with the end of the time

    def _take(self, message: Any) -> None:
        """By identity: equal messages are different messages."""
        index = next(i for i, each in enumerate(self._mail) if each is message)
        del self._mail[index]

    def _unexpected(self, text: str, wanted: object) -> Unexpected:
        return Unexpected(text, wanted=_shown(wanted), came=tuple(repr(each) for each in self._mail))

    def _reply_address(self) -> ReplyTo[Any]:
        last: Any = self._last
        if isinstance(self._last, ReceivedCall):
            return self._last._reply
        is_tuple, kind = isinstance(self._last, tuple), cast("Any", ReplyTo)
        fields: dict[str, Any] = getattr(last, "__dict__", {})
        parts: list[Any] = [*last] if is_tuple else [*fields.values()]
        parts += [getattr(last, name, None) for name in getattr(last.__class__, "__slots__", ())]
        for each in (last, *parts):
            if isinstance(each, kind):
                found: ReplyTo[Any] = each
                return found
        raise UsageError(f"reply answers the message that was expected last, and {last!r} holds no ReplyTo")


def _is_actor(actor: Any) -> bool:
    return isinstance(actor, type) and issubclass(actor, Actor)


def _matcher(wanted: Any) -> Callable[[Any], bool]:
    if isinstance(wanted, type):
        return lambda message: isinstance(message, wanted)
    if callable(wanted):
        return lambda message: bool(wanted(message))
    return lambda message: bool(message == wanted)


def _shown(wanted: Any) -> str:
    return getattr(wanted, "__qualname__", None) or repr(wanted)


def _stand_in(actor: type[Any]) -> type[Any]:
    """A class with the messages of another and the body of a probe."""
    body: dict[str, Any] = {
        name: vars(_Inbox)[name]
        for name in ("__init__", "on_start", "on_stop", "on_idle", "on_info", "on_down", "on_exit")
    }
    for fn in actor._kb_info.protocol:
        if fn.__name__ not in body:
            body[fn.__name__] = _recorder(fn)
    return type(f"ProbeOf{actor.__name__}", (actor,), body)


def _recorder(fn: Any) -> Any:
    @wraps(fn)
    def record(self: Any, *args: Any, **kwargs: Any) -> None:
        self._probe._called(fn, args, kwargs)

    return record
