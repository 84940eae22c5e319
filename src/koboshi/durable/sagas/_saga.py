"""`Saga`: plain code whose steps are recorded, so that it goes on after any crash and can be undone."""

from __future__ import annotations

import datetime
import hashlib
import random as randomness
import uuid as uuids
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, TypeVarTuple, cast, overload

import msgspec

from ..._kernel._errors import UsageError
from ..._kernel._message import Message
from ..._supervision._options import seconds, whole
from ..._supervision._restart import Backoff
from .._retry import RETRY
from ..actors._actor import DurableActor
from ..actors._codec import Codec, _hints, type_name, within_limit
from ..actors._identity import checked_name
from ._attempts import attempt_begins, sleep_until
from ._failing import NO_EVENT, UNKNOWN, error_of, failure_of
from ._journal import Ended, Failure, Tried
from ._running import KEY, called, result_codec, step_key, with_key

if TYPE_CHECKING:
    from ..actors._ref import DurableRef
    from ._operation import Operation
    from ._runner import Runner

__all__ = ["Saga", "exactly_once"]

A = TypeVar("A", bound=DurableActor[Any])
I = TypeVar("I")  # noqa: E741
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Saga(Generic[I, R]):
    """Subclass it as `Saga[Input, Result]` with `async def run(self, value: Input) -> Result`.

    `run` is plain code. After a crash it is run again from its beginning, and each operation that was recorded gives
    what it gave before, at once. So everything that touches the world or differs from run to run is done by the
    methods here: `step`, `wait_event`, `sleep`, `now`, `random`, `uuid`. When `run` raises, the steps that have an
    `undo` are undone, the last one first.

    What instances under way have begun stays as it is: names and order. A change is refused with `SagaChanged`.
    """

    #: Errors of steps that `run` gets as themselves; all others are `StepFailed`. They are answers: not retried.
    errors: ClassVar[tuple[type[Exception], ...]] = ()

    #: The events that it takes, by name, with the type of each. If there are any, `signal` refuses all others.
    events: ClassVar[Mapping[str, Any]] = {}

    _kb_runner: Runner | None = None

    async def run(self, value: I, /) -> R:
        """What the saga does."""
        raise NotImplementedError(f"{type(self).__qualname__} has no run")

    @property
    def id(self) -> str:
        """Which instance this is."""
        return self._kb_here("id").key

    def _kb_here(self, what: str) -> Runner:
        if self._kb_runner is None:
            raise UsageError(f"{what} belongs to a saga that runs; start one with sagas.start(...)")
        return self._kb_runner

    async def _kb_on(self, what: str) -> Runner:
        runner = self._kb_here(what)
        await runner.check_on()
        return runner

    # -- steps ---------------------------------------------------------------------------------------

    if TYPE_CHECKING:

        @overload
        def step(
            self,
            name: str,
            fn: Callable[[*Ts], Awaitable[T]],
            /,
            *args: *Ts,
            undo: Callable[[T], object] | None = ...,
            retries: int = ...,
            backoff: Backoff = ...,
            timeout: float | None = ...,
            at_most_once: bool = ...,
        ) -> Coroutine[Any, Any, T]: ...
        @overload
        def step(
            self,
            name: str,
            fn: Callable[[*Ts], T],
            /,
            *args: *Ts,
            undo: Callable[[T], object] | None = ...,
            retries: int = ...,
            backoff: Backoff = ...,
            timeout: float | None = ...,
            at_most_once: bool = ...,
        ) -> Coroutine[Any, Any, T]: ...
        # mypy does not see that `*args: Any` takes `*Ts`.
        def step(self, *args: Any, **options: Any) -> Any: ...  # type: ignore[misc]

    else:

        async def step(
            self,
            name: str,
            fn: Callable[..., Any],
            /,
            *args: Any,
            undo: Callable[[Any], object] | None = None,
            retries: int = 0,
            backoff: Backoff = RETRY,
            timeout: float | None = None,
            at_most_once: bool = False,
        ) -> Any:
            """Call a function and record what it returns; after that it is not called again.

            Args:
                name: names it in the journal. In a loop the same name may come again; side by side each has its own.
                fn: an async function, or a plain one, which is called in a thread.
                undo: called with the step's result when the saga fails later.
                retries: how often a failed attempt is repeated (default 0), after the delays of `backoff`.
                timeout: seconds for one attempt (default None: as long as it takes).
                at_most_once: it is not called a second time if the program ends before its outcome is recorded;
                    `run` gets `StepOutcomeUnknown` then. By default it is called again, with the same `step_key`.

            Raises:
                StepFailed, StepTimeout: it has failed, with the last attempt's error.
                StepOutcomeUnknown: see `at_most_once`.
                SagaCancelled: the saga was cancelled; nothing new is begun.
            """
            runner = await self._kb_on("step")
            checked_name("step's name", name, 128)
            whole("retries", retries, 0)
            seconds("timeout", timeout, none=True)
            if at_most_once and retries:
                raise UsageError(
                    f"the step {name!r} runs at most once, so it has no retries, got {retries!r}"
                )
            if not callable(fn):
                raise UsageError(
                    f"the step {name!r} takes a function and its arguments: self.step({name!r}, function, 1), "
                    f"got {fn!r}"
                )
            codec = result_codec(fn)
            label = runner.label("step", name)

            async def execute(operation: Operation) -> None:
                if at_most_once and operation.resumed:
                    runner.write(Ended(label, failure=UNKNOWN))
                    return
                await self._kb_attempts(operation, fn, args, retries, backoff, timeout, codec)

            undoing = None if undo is None else self._kb_undo(label, undo, codec, timeout)
            ended = await runner.rest.end_of(runner.begin(label, execute, undo=undoing))
            if ended.failure is not None:
                raise error_of(ended.failure, name, runner.who, self.errors)
            return codec.decode(ended.value)

    async def _kb_attempts(
        self,
        operation: Operation,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        retries: int,
        backoff: Backoff,
        timeout: float | None,
        codec: Codec,
    ) -> None:
        runner, label = self._kb_here("step"), operation.label
        KEY.set(f"{runner.place}/{label}")
        while True:
            worn = await attempt_begins(runner, label, backoff)
            if worn is not None:
                runner.write(Ended(label, failure=worn))
                return
            found, timed_out = await called(fn, args, timeout)
            if not isinstance(found, BaseException):
                runner.write(_ended(label, found, codec))
                return
            failure = failure_of(found, self.errors, timed_out=timed_out)
            attempt = runner.attempts.of(label).attempt + 1
            if attempt > retries or failure.kind == "declared" or runner.failed is not None:
                runner.write(Ended(label, failure=failure))
                return
            not_before = runner.now() + backoff.delay(attempt, randomness.random)
            runner.write(Tried(label, attempt, not_before, failure))

    def _kb_undo(
        self, label: str, undo: Callable[[Any], object], codec: Codec, timeout: float | None
    ) -> Callable[[bytes], Coroutine[Any, Any, tuple[Any, bool]]]:
        runner = self._kb_here("step")

        def undoing(value: bytes) -> Coroutine[Any, Any, tuple[Any, bool]]:
            context = with_key(runner.context, f"{runner.place}/undo {label}")

            async def undone() -> tuple[Any, bool]:
                found: tuple[Any, bool] = await runner.tasks.start(
                    called(undo, (codec.decode(value),), timeout), context
                )
                return found

            return undone()

        return undoing

    @property
    def key_of_step(self) -> str:
        """The idempotency key of the step that runs here; see `step_key`."""
        return step_key()

    # -- waiting -------------------------------------------------------------------------------------

    @overload
    async def wait_event(self, name: str, *, timeout: float | None = ...) -> Any: ...
    @overload
    async def wait_event(self, name: str, type: type[T], *, timeout: float | None = ...) -> T: ...
    async def wait_event(self, name: str, type: Any = Any, *, timeout: float | None = None) -> Any:
        """The value of the next event of that name, which is sent with `sagas[id].signal(name, value)`.

        An event that came before is taken at once; each is taken once, in the order in which they came.

        Args:
            type: what it is (default: as it is declared in `events`, or else plain values as they come).
            timeout: seconds, by the database's clock, also across restarts (default None: for ever).

        Raises:
            EventTimeout: it did not come in time.
            msgspec.ValidationError: it came, and is of another type; it is taken, and the next may be waited for.
                Not of one that is declared in `events`: that is refused where it is sent.
            UsageError: `events` declares others, or another type.
        """
        runner = await self._kb_on("wait_event")
        codec = runner.spec.event(name, type)
        seconds("timeout", timeout, none=True)

        async def execute(operation: Operation) -> None:
            runner.await_signal(name, operation)
            if operation.is_open and operation.began.until is not None:
                await runner.flush()
                await sleep_until(runner, operation.began.until)
                if operation.is_open:
                    runner.write(Ended(operation.label, failure=NO_EVENT))

        until = None if timeout is None else runner.now() + timeout
        ended = await runner.rest.end_of(runner.begin(runner.label("event", name), execute, until=until))
        if ended.failure is not None:
            raise error_of(ended.failure, name, runner.who, self.errors)
        try:
            return codec.decode(ended.value)
        except msgspec.ValidationError as misfit:
            wanted = type_name(codec.type)
            raise msgspec.ValidationError(
                f"the event {name!r} of {runner.who} was sent as something that is no {wanted}: {misfit}; "
                f"send a {wanted}, or catch this error and wait again"
            ) from misfit

    async def sleep(self, seconds: float) -> None:
        """Wait, by the database's clock; what has passed while the program was down counts."""
        runner = await self._kb_on("sleep")
        if not 0 <= seconds < float("inf"):
            raise UsageError(f"sleep takes seconds >= 0, got {seconds!r}")

        async def execute(operation: Operation) -> None:
            await runner.flush()
            await sleep_until(runner, operation.began.until or 0.0)
            if operation.is_open:
                runner.write(Ended(operation.label))

        until = runner.now() + seconds
        ended = await runner.rest.end_of(runner.begin(runner.label("sleep", ""), execute, until=until))
        if ended.failure is not None:
            raise error_of(ended.failure, "sleep", runner.who, self.errors)

    # -- what differs from run to run ----------------------------------------------------------------

    def now(self) -> datetime.datetime:
        """The time by the database's clock, in UTC; the same at each repetition."""
        runner = self._kb_here("now")
        moment = self._kb_value("now", lambda: runner.now())
        return datetime.datetime.fromtimestamp(cast("float", moment), datetime.UTC)

    def random(self) -> float:
        """A random number, 0.0 <= x < 1.0; the same at each repetition."""
        return cast("float", self._kb_value("random", randomness.random))

    def uuid(self) -> uuids.UUID:
        """A random UUID; the same at each repetition."""
        return uuids.UUID(cast("str", self._kb_value("uuid", lambda: str(uuids.uuid4()))))

    def _kb_value(self, kind: str, make: Callable[[], object]) -> object:
        runner = self._kb_here(kind)
        blob = runner.value(runner.label(kind, ""), lambda: msgspec.msgpack.encode(make()))
        found: object = msgspec.msgpack.decode(blob)
        return found


def _ended(label: str, value: Any, codec: Codec) -> Ended:
    """The end of a step that has worked, unless what it returns cannot be recorded."""
    try:
        blob = within_limit(f"the result of the {label}", codec.encode(value))
        codec.decode(blob)
    except Exception as error:
        detail = f"it has worked, and what it returns cannot be recorded: {error}"
        return Ended(label, failure=Failure("error", type(error).__qualname__, detail))
    return Ended(label, blob)


def exactly_once(ref: DurableRef[A], message: Message[A, P, R, Any]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A call of a durable actor as a step: however often it is repeated, the actor handles it once.

    `await self.step("deposit", kb.exactly_once(accounts["alice"], Account.deposit), 500)`
    """

    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return (
            await ref.request(request_id(step_key())).within(None).call(cast("Any", message), *args, **kwargs)
        )

    call.__annotations__ = {"return": _hints(cast("Any", message)).get("return", Any)}
    return call


def request_id(key: str) -> str:
    """A step's key as the id of a request, which is shorter."""
    return f"saga-{hashlib.sha256(key.encode()).hexdigest()}"
