"""`registry`: how processes use a registry, from any node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._ref import ActorRef
from .._answering import current_ref, on_this_loop
from .._target import ref_to
from ._registry import Registry, Where
from ._types import Registration, RegistryStatistics
from ._via import KeyName

AA = TypeVar("AA", bound=Actor)


@dataclass(frozen=True, slots=True)
class _Equal:
    """Accepts one value; a class, since it travels to the registry's node."""

    value: Any

    def __call__(self, value: Any) -> bool:
        return bool(value == self.value)


def _where(wanted: object) -> Where:
    return wanted if callable(wanted) else _Equal(wanted)  # pyright: ignore[reportReturnType]


class RegistryHandle:
    """What `registry` gives: small, picklable, and good on every node.

    On the registry's own loop nothing waits and no message is sent; from other nodes each request is a call,
    and functions are pickled, so they are functions of modules there. `1`, `1.0` and `True` are one key.
    """

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Registry]) -> None:
        self._ref = ref

    async def register(self, key: Any, value: Any = None) -> None:
        """Put the current process under a key, with a value.

        Raises:
            AlreadyRegistered: the registry is unique and a living process, this one perhaps, has the key.
            NotInProcess: there is no current process.
        """
        me, here = current_ref("register"), on_this_loop(self._ref, Registry, "Registry.register")
        if here is not None:
            here.register(me, key, value)
        else:
            await self._ref.call(Registry.register, me, key, value)

    async def unregister(self, key: Any) -> None:
        """Take the current process, and no other, from a key: all its entries there, if it has any."""
        await self._unregister(key, None)

    async def unregister_match(self, key: Any, where: object) -> None:
        """Like `unregister`, for those entries whose value `where` accepts, or is equal to it."""
        await self._unregister(key, _where(where))

    async def _unregister(self, key: Any, where: Where | None) -> None:
        me, here = current_ref("unregister"), on_this_loop(self._ref, Registry, "Registry.unregister")
        if here is not None:
            here.unregister(me, key, where)
        else:
            await self._ref.call(Registry.unregister, me, key, where)

    async def lookup(self, key: Any) -> list[Registration]:
        """Who is under a key, the oldest first; never a process that is known to have ended."""
        here = on_this_loop(self._ref, Registry, "Registry.lookup")
        return here.lookup(key) if here is not None else await self._ref.call(Registry.lookup, key)

    async def whereis(self, key: Any) -> ActorRef[Any] | None:
        """A pid ref to the process under a key of a unique registry, None when there is none."""
        here = on_this_loop(self._ref, Registry, "Registry.whereis")
        if here is None:
            return await self._ref.call(Registry.whereis, key)
        return here.whereis(key)

    async def match(self, key: Any, where: object) -> list[Registration]:
        """Who is under a key with a value that `where` accepts, or that is equal to it."""
        here = on_this_loop(self._ref, Registry, "Registry.match")
        if here is not None:
            return here.lookup(key, _where(where))
        return await self._ref.call(Registry.lookup, key, _where(where))

    async def count_match(self, key: Any, where: object) -> int:
        """How many `match` would give."""
        return len(await self.match(key, where))

    async def keys(self, ref: ActorRef[Any] | None = None) -> list[Any]:
        """The keys of a process, of the current one by default; one that it has twice is there twice."""
        here, owner = on_this_loop(self._ref, Registry, "Registry.keys"), _owner(ref, "keys")
        return here.keys(owner) if here is not None else await self._ref.call(Registry.keys, owner)

    async def values(self, key: Any, ref: ActorRef[Any] | None = None) -> list[Any]:
        """The values of a process, of the current one by default, under a key."""
        here, owner = on_this_loop(self._ref, Registry, "Registry.values"), _owner(ref, "values")
        if here is not None:
            return here.values(owner, key)
        return await self._ref.call(Registry.values, owner, key)

    async def update_value(self, key: Any, fn: Callable[[Any], Any]) -> tuple[Any, Any] | None:
        """Put `fn(value)` in place of the current process's value; (new, old), None when it has no entry.

        Raises:
            UsageError: the registry is not unique.
            Exception: what `fn` raised; the value stays.
        """
        me, here = current_ref("update_value"), on_this_loop(self._ref, Registry, "Registry.update_value")
        if here is not None:
            return here.update_value(me, key, fn)
        return await self._ref.call(Registry.update_value, me, key, fn)

    async def select(self, where: Callable[[Registration], bool] | None = None) -> list[Registration]:
        """All entries, or those that `where` accepts. It looks at each: for `lookup` a key is enough."""
        here = on_this_loop(self._ref, Registry, "Registry.select")
        return here.select(where) if here is not None else await self._ref.call(Registry.select, where)

    async def count(self) -> int:
        """How many entries there are."""
        here = on_this_loop(self._ref, Registry, "Registry.count")
        return here.count() if here is not None else await self._ref.call(Registry.count)

    async def put_meta(self, name: Any, value: Any) -> None:
        """Keep a value with the registry itself; it is gone when the registry ends."""
        await self._ref.call(Registry.put_meta, name, value)

    async def meta(self, name: Any, default: Any = None) -> Any:
        """A value that was kept with the registry."""
        return await self._ref.call(Registry.meta, name, default)

    async def delete_meta(self, name: Any) -> None:
        """Forget a value that was kept with the registry."""
        await self._ref.call(Registry.delete_meta, name)

    @overload
    async def via(self, key: Any) -> ActorRef[Any]: ...
    @overload
    async def via(self, key: Any, cls: type[AA]) -> ActorRef[AA]: ...
    async def via(self, key: Any, cls: type[Actor] = Actor) -> ActorRef[Any]:
        """A stable ref to whoever is under a key: each send looks anew. It may be stored and sent on.

        Args:
            cls: the class of actor that is expected there; from other nodes only its messages can be sent.

        Raises:
            UsageError: the registry is not unique.
        """
        here = on_this_loop(self._ref, Registry, "Registry.via")
        if here is not None:
            return here.ref_to_key(self._ref, key, cls)
        return await self._ref.call(Registry.via, key, cls)

    def name(self, key: Any, value: Any = None) -> KeyName:
        """A key as the `name` of a child on the registry's node: it is registered before its code runs."""
        return KeyName(self._ref, key, value)

    async def statistics(self) -> RegistryStatistics:
        """Figures of this moment."""
        return await self._ref.call(Registry.statistics)

    def __reduce__(self) -> tuple[Any, ...]:
        return RegistryHandle, (self._ref,)

    def __eq__(self, other: object) -> bool:
        return self._ref == other._ref if isinstance(other, RegistryHandle) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"<RegistryHandle of {self._ref!r}>"


def _owner(ref: ActorRef[Any] | None, what: str) -> ActorRef[Any]:
    if ref is None:
        return current_ref(what)
    given: object = ref
    if not isinstance(given, ActorRef):
        raise UsageError(f"{what} takes the ref of a process, or None for the current one, got {ref!r}")
    return ActorRef(ref._target())


def registry(where: ActorRef[Registry] | Any) -> RegistryHandle:
    """Use a registry, by its registered name or by a ref: `rooms = otp.registry("rooms")`.

    Raises:
        UsageError: it is a ref to something else.
    """
    return RegistryHandle(ref_to(where, Registry))
