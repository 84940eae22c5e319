"""`sagas`: a kind of saga as a program sees it, and the address of one instance."""

from __future__ import annotations

import asyncio
import functools
import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, get_args, get_origin

from ..._kernel._errors import CallTimeout, UsageError
from ..._supervision._options import seconds, whole
from ..._supervision._restart import Backoff
from ..._supervision._spec import ChildSpec, child
from .._failures import RequestMismatch
from .._retry import RETRY
from ..actors._codec import UNSTORABLE, codec_of, unstorable, within_limit
from ..actors._data_key import data_key_of
from ..actors._handle import Durable, durable
from ..actors._key_ring import KeyRing
from ..actors._kind import DurableStatistics, Kind
from ..actors._numbers import state_number
from ..actors._ref import DurableRef, live
from ..actors._rotation import KeyRotation
from ..actors._seal import BY_DATA_KEY, is_sealed
from ..stores import LEASE, Session, StoreURL
from ..stores._tables import ACTOR, TAG
from ._errors import SagaCancelled, SagaFailed, UnknownSaga
from ._instance import ACTIVE, ALIVE, DEAD, TAG_NAME, WAITING, Instance, State, read_journals
from ._journal import decode, open_labels
from ._kind import SagaKind
from ._saga import Saga
from ._spec import Spec
from ._wakings import Wakings

__all__ = ["SagaRef", "SagaStatus", "Sagas", "sagas"]

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

# Seconds between looks at the row of an instance that runs somewhere else.
_EVERY = 0.5
_STATE = ("state", "state_revision", "codec", "schema_version", "key_id")


@dataclass(frozen=True, slots=True)
class SagaStatus:
    """One instance as it was last committed.

    Attributes:
        id: which one.
        status: "running", "undoing", "finished", "failed", "cancelled", or "dead": a compensation has failed for
            good and `retry` is waited for.
        parked: why it does not go on though it has not ended, such as `SagaChanged`; known where it runs.
        waiting: what it has begun and not ended.
        detail: what `run` has raised.
        report: its traceback, or that of the compensation that is a dead letter.
    """

    id: str
    status: str
    parked: Exception | None = None
    waiting: tuple[str, ...] = ()
    detail: str = ""
    report: str = ""


class Sagas(Generic[I, R]):
    """One kind of saga: `sagas[id]` is the address of an instance, `sagas.child()` runs the kind."""

    def __init__(self, actors: Durable[Instance], spec: Spec) -> None:
        self._actors = actors
        self._spec = spec

    def __getitem__(self, id: str) -> SagaRef[R]:
        return SagaRef(self._actors[id], self._spec)

    def child(self) -> ChildSpec[Kind]:
        """What a supervisor starts to run this kind: it goes on with all instances that nobody runs."""
        definition = self._actors._definition
        return child(SagaKind, definition).options(id=f"sagas {definition.type}")

    async def start(self, value: I, *, id: str | None = None) -> SagaRef[R]:
        """Start an instance; when this returns it will be run to its end, whatever crashes.

        Args:
            value: what `run` is given.
            id: which one (default a random one). An id that was started before is not started again.

        Raises:
            RequestMismatch: the id was started with another input.
            StoreUnavailable, OutcomeUnknown, OwnedElsewhere, NotRunning, UsageError: as `DurableRef.call`.
        """
        ref = self._actors[str(uuid.uuid4()) if id is None else id]
        try:
            blob = within_limit("the input of a saga", self._spec.input.encode(value))
            digest = self._spec.input.digest(self._spec.input.decode(blob))
        except UNSTORABLE as error:
            raise UsageError(f"{value!r} is no input of {self._spec.cls.__qualname__}: {error}") from None
        kept = await ref.call(Instance.start, blob, digest)
        if kept and kept != digest:
            text = (
                f"the saga {ref.who} was started with another input, which stays as it is; give each start an id of "
                f"its own, or take the one that there is: sagas[{ref.key!r}]"
            )
            raise RequestMismatch(str(ref.who), ref.key, "start", "start", text=text)
        return SagaRef(ref, self._spec)

    async def alive(self, *, limit: int = 1_000) -> list[str]:
        """The ids of up to `limit` instances that have not ended, those that are dead letters not included."""
        return await self._tagged((ACTIVE, WAITING), limit)

    async def dead(self, *, limit: int = 1_000) -> list[str]:
        """The ids of up to `limit` instances with a compensation that has failed for good."""
        return await self._tagged((DEAD,), limit)

    async def _tagged(self, values: tuple[str, ...], limit: int) -> list[str]:
        definition = self._actors._definition
        rows = [(definition.system, definition.type, TAG_NAME, value) for value in values]
        columns = "system_name", "actor_type", "tag_name", "tag_value"
        whole("limit", limit, 1)
        found = await live(definition, "alive").store.read(
            lambda session: session.lookup(TAG, ("actor_key",), columns, rows)
        )
        return sorted(str(each[0]) for each in found)[:limit]

    def statistics(self) -> DurableStatistics:
        """The kind as it is now."""
        return self._actors.statistics()

    async def rotate_keys(self, *, portion: int = 500) -> KeyRotation:
        """See `Durable.rotate_keys`."""
        return await self._actors.rotate_keys(portion=portion)

    async def keys_in_use(self) -> dict[str | None, int]:
        """See `Durable.keys_in_use`."""
        return await self._actors.keys_in_use()

    def __repr__(self) -> str:
        return f"<Sagas {self._actors._definition.type}>"


class SagaRef(Generic[R]):
    """The address of one instance."""

    __slots__ = ("_ref", "_spec", "id")

    def __init__(self, ref: DurableRef[Instance], spec: Spec) -> None:
        self._ref = ref
        self._spec = spec
        self.id = ref.key

    async def signal(self, name: str, value: object = None, *, id: str | None = None) -> bool:
        """Send an event, which `wait_event` takes; when this returns it will not be lost.

        Args:
            id: with it the same event may be sent again and is recorded once (default: each is one more).

        Returns:
            False when the instance has ended already.

        Raises:
            UnknownSaga: it was never started.
            UsageError: the saga declares `events`, and the value is not of the type of that one, or it is none of
                them. The saga does not hear of it.
        """
        ref = self._ref if id is None else self._ref.request(id)
        what, codec = f"the event {name!r}", self._spec.event(name)
        try:
            blob = codec.storable(what, self._ref.who, codec.encode(value))
        except UNSTORABLE as error:
            raise unstorable(what, error) from None
        await self._look_up()
        return await ref.call(Instance.signal, name, blob)

    async def cancel(self) -> bool:
        """Have nothing new begun, and what is done undone. Steps in flight end first.

        Returns:
            False when it has ended already, or is being undone.

        Raises:
            UnknownSaga: it was never started.
        """
        await self._look_up()
        return await self._ref.call(Instance.cancel)

    async def retry(self) -> bool:
        """Undo on, after what kept a compensation from working was mended; False when it does not wait for that.

        Raises:
            UnknownSaga: it was never started.
        """
        await self._look_up()
        return await self._ref.call(Instance.retry)

    async def _look_up(self) -> None:
        """Raise `UnknownSaga` for one that was never started, without waking it: others could not start it then."""
        kind = self._ref._definition.live
        if kind is not None and not kind.has(self.id):
            await self._state()

    async def status(self) -> SagaStatus:
        """How it stands; it is not woken for that.

        Raises:
            UnknownSaga: it was never started.
        """
        state = await self._state()
        runner = self._spec.running.get(self.id)
        if runner is not None:
            parked, waiting = runner.problem, runner.waiting
        else:
            parked, waiting = None, await self._recorded() if state.status in ALIVE else ()
        failure = state.failure or state.stuck
        report = "" if failure is None else failure.report
        detail = "" if failure is None else f"{failure.type}: {failure.detail}"
        return SagaStatus(self.id, state.status, parked, waiting, detail, report)

    async def result(self, timeout: float | None = None) -> R:
        """What `run` has returned, once it has.

        Args:
            timeout: seconds to wait for that (default None: for ever).

        Raises:
            SagaFailed: `run` has raised; what was done is undone, unless it says otherwise.
            SagaCancelled: it was cancelled and is undone.
            CallTimeout: it takes longer.
            UnknownSaga: it was never started.
        """
        seconds("timeout", timeout, none=True)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            changed: asyncio.Future[None] = loop.create_future()
            self._spec.waiting.setdefault(self.id, []).append(changed)
            try:
                state = await self._state()
                if state.status == "finished":
                    return cast("R", self._spec.result.decode(state.result))
                self._check(state)
                left = _EVERY if timeout is None else min(_EVERY, began + timeout - loop.time())
                if left <= 0:
                    raise CallTimeout(str(self._ref.who), "its end", loop.time() - began, maybe_executed=True)
                await asyncio.wait([changed], timeout=left)
            finally:
                changed.cancel()
                self._forget(changed)

    def _forget(self, future: asyncio.Future[None]) -> None:
        waiting = self._spec.waiting.get(self.id)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._spec.waiting[self.id]

    def _check(self, state: State) -> None:
        who = str(self._ref.who)
        if state.status == "cancelled":
            raise SagaCancelled(who)
        failure = state.failure if state.status == "failed" else state.stuck
        if state.status in ("failed", "dead"):
            assert failure is not None
            undone = state.status == "failed"
            raise SagaFailed(who, failure.type, failure.detail, failure.report, undone)

    async def _recorded(self) -> tuple[str, ...]:
        """What its journal has begun and not ended."""
        who, definition = self._ref.who, self._ref._definition

        def read(session: Session) -> tuple[list[tuple[int, bytes]], bytes | None]:
            found = read_journals(session, [(who, 0, 0)])[who][1]
            is_keyed = any(is_sealed(blob) for _, blob in found)
            return found, data_key_of(session, who, needed=is_keyed)

        found, data_key = await live(definition, "status").store.read(read, steady=True)
        sealer = definition.opener(who, data_key)
        opened = (sealer.open(who, "journal", seq, blob) for seq, blob in sorted(found))
        return open_labels(decode(each) for each in opened)

    async def _state(self) -> State:
        who, definition = self._ref.who, self._ref._definition

        def read(session: Session) -> tuple[list[tuple[Any, ...]], bytes | None]:
            rows = session.lookup(ACTOR, _STATE, ("system_name", "actor_type", "actor_key"), [who])
            is_keyed = bool(rows) and rows[0][4] == BY_DATA_KEY
            return rows, data_key_of(session, who, needed=is_keyed)

        rows, data_key = await live(definition, "status").store.read(read, steady=True)
        if not rows or rows[0][0] is None:
            raise UnknownSaga(str(who))
        blob, revision, codec, version, _ = rows[0]
        number = state_number(revision, codec, version)
        plain = definition.opener(who, data_key).open(who, "state", number, bytes(blob))
        state: State = codec_of(State, codec).decode(plain)
        return state

    def __repr__(self) -> str:
        return f"<SagaRef {self._ref.who}>"


def sagas(
    cls: Callable[[], Saga[I, R]],
    *,
    store: StoreURL,
    system: str = "default",
    type: str | None = None,
    undo_retries: int = 10,
    undo_backoff: Backoff = RETRY,
    max_interruptions: int = 3,
    deactivate_after: float | None = 300.0,
    max_active: int = 10_000,
    lease: float = LEASE,
    keys: KeyRing | None = None,
) -> Sagas[I, R]:
    """Make a kind of saga known.

    Args:
        cls: a subclass of `Saga`, or `functools.partial(cls, ...)` with arguments for its constructor.
        store: where its instances are kept, as for `kb.durable`.
        system: a name that keeps programs apart which share a store (default "default").
        type: the name of the kind in the store (default the class's name). Rename the class, not this.
        undo_retries: how often a compensation that fails is repeated before it is a dead letter (default 10).
        undo_backoff: the delays between them (default 1 s, doubled up to 300 s, with jitter).
        max_interruptions: how often the program may die during one step or one compensation (default 3); after that
            the step fails, and the compensation is a dead letter.
        deactivate_after: seconds after which an instance that only waits, or has ended, leaves memory (default 300.0;
            None: never).
        max_active: how many may be in memory; beyond, those that only wait leave it at once (default 10,000).
        lease: seconds for which this program's instances stay its own when it is not heard of (default 15.0).
        keys: what is stored is encrypted with these, as for `kb.durable` (default None).

    Raises:
        UsageError: the class is no `Saga[Input, Result]`, or an option has no such value.
    """
    given: Any = cls
    target: Any = given.func if isinstance(given, functools.partial) else given  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not inspect.isclass(target) or not issubclass(target, Saga):
        raise UsageError(f"kb.sagas takes a subclass of kb.Saga, got {target!r}")
    input, result = _types(cast("Any", target))
    run: Any = cast("Any", target).run
    if not inspect.iscoroutinefunction(run):
        raise UsageError(f"{target.__qualname__}.run is written with async def")
    whole("undo_retries", undo_retries, 0)
    whole("max_interruptions", max_interruptions, 0)
    types = codec_of(input), codec_of(result)
    spec = Spec(target, cls, *types, undo_retries, undo_backoff, max_interruptions)
    for name in spec.events:
        spec.event(name)
    actors = durable(
        child(Instance, spec),
        store=store,
        system=system,
        type=type or target.__name__,
        deactivate_after=deactivate_after,
        max_active=max_active,
        lease=lease,
        keys=keys,
    )
    actors._definition.read_more, actors._definition.timers = read_journals, Wakings
    return Sagas(actors, spec)


def _types(cls: Any) -> tuple[Any, Any]:
    for base in cls.__mro__:
        for each in base.__dict__.get("__orig_bases__", ()):
            if get_origin(each) is Saga:
                input, result = get_args(each)
                if not isinstance(input, TypeVar) and not isinstance(result, TypeVar):
                    return input, result
    raise UsageError(
        f"{cls.__qualname__} does not say what it takes and gives; write "
        f"`class {cls.__name__}(kb.Saga[Input, Result]):`"
    )
