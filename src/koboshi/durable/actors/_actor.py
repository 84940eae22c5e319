"""`DurableActor`: an actor whose state outlives it. Each message it handles is one turn of its activation."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, get_args, get_origin

from ..._kernel._actor import Actor
from ..._kernel._errors import UsageError
from ..._kernel._message import Message
from .._failures import Corrupted
from ._activation import first_number
from ._codec import UNSTORABLE, Codec, arguments_of, codec_of, type_name, unstorable
from ._forward import Forwarded
from ._identity import check_tags, checked_name
from ._past import KeptStates
from ._publication import MOST, Publication
from ._query import QUERY, check_turn, reading
from ._recording import KeepingActivation
from ._reminder import Missed, rule_of
from ._state import Upcasters
from ._timers import timer_source
from ._turn import turn

if TYPE_CHECKING:
    from ._activation import Activation
    from ._channel import Channel
    from ._claim import Claimed
    from ._definition import Definition
    from ._ref import DurableRef

__all__ = ["DurableActor"]

A = TypeVar("A", bound="DurableActor[Any]")
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
D = TypeVar("D", bound="DurableActor[Any]")


# What is recorded under the actor's own key.
_NEED_ROW = ("subscribe", "unsubscribe", "remind", "forget", "tag")


class DurableActor(Actor, Generic[S]):
    """Has a `state` that is committed before the reply to any message leaves; started by its first message.

    Subclass it with the type of the state, and make it known with `kb.durable`. The state is a msgspec Struct, a
    dataclass, a Protobuf message, or plain values. Give it a new value or change it in place: whatever a handler
    leaves there is what is committed. A handler that raises has changed nothing; `Refused` is told to the caller
    and the actor goes on, any other error ends the activation as it ends any actor.

    Without a runtime it is an ordinary object: `Account().deposit(5)`.
    """

    #: The version of the state's type; rows of older ones go through `upcasters`, newer ones are refused.
    schema_version: ClassVar[int] = 1
    #: By version: plain values of that version in, plain values of the next one out.
    upcasters: ClassVar[Upcasters] = {}
    #: "msgpack" (default), "json", or "protobuf" (the default for Protobuf messages).
    codec: ClassVar[str | None] = None

    _kb_activation: Activation | None = None
    _kb_value: S
    _kb_codec: ClassVar[Codec]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            origin, found = get_origin(base), get_args(base)
            if inspect.isclass(origin) and issubclass(origin, DurableActor) and found:
                if not isinstance(found[0], TypeVar):
                    cls._kb_codec = codec_of(found[0], cls.codec)
                break

    @classmethod
    def _kb_around_message(cls, run: Callable[..., Any]) -> Callable[..., Any]:
        around = reading if hasattr(run, QUERY) else turn
        return around(run)

    # -- the state -----------------------------------------------------------------------------------

    def initial(self) -> S:
        """The state of a key that has none yet; by default the state's type, called without arguments."""
        made = type(self)._kb_codec.type
        try:
            return cast("S", made())
        except TypeError as error:
            raise UsageError(
                f"a {type_name(made)} cannot be made without arguments ({error}); give its fields defaults, or let "
                f"{type(self).__qualname__} override `initial`"
            ) from error

    @property
    def state(self) -> S:
        """What outlives the actor."""
        try:
            return self._kb_value
        except AttributeError:
            self._kb_value = self.initial()
            return self._kb_value

    @state.setter
    def state(self, value: S) -> None:
        self._kb_value = value

    @property
    def key(self) -> str:
        """Which one of its kind it is; empty without a runtime."""
        activation = self._kb_activation
        return "" if activation is None else activation.who.key

    @property
    def revision(self) -> int:
        """How many turns have changed it, the one in hand not included."""
        activation = self._kb_activation
        return 0 if activation is None else activation.revision

    @property
    def message_id(self) -> str:
        """A name of the message in hand, the same each time that it is tried: a key for effects on the outside.

        Raises:
            UsageError: it came by a plain `call` or `cast`, which nobody repeats; `request`, `put`, `send` have one.
        """
        activation = self._kb_turn("a message's id")
        if activation.asked is not None:
            return f"{activation.who}/{activation.asked}"
        if activation.consuming is None:
            raise UsageError(
                f"the message in hand of {activation.who} has no id, since nobody repeats it; send it with "
                "`request(id)`, `put` or `send`"
            )
        return f"{activation.who}/{activation.consuming[0]}#{activation.consuming[1]}"

    @classmethod
    def _kb_load(cls, actor: Any, activation: Activation, claimed: Claimed) -> None:
        """Called before the actor starts, with its row."""
        if claimed.state is None:
            if claimed.revision:
                raise Corrupted(str(activation.who), f"it is at revision {claimed.revision} and has no state")
            activation.blob = cls._kb_codec.encode(actor.state)
            return
        if claimed.state_revision != claimed.revision:
            # An older state that was put back opens, as it is of this very actor; its number gives it away.
            detail = f"its state is of revision {claimed.state_revision} and its row of {claimed.revision}"
            raise Corrupted(str(activation.who), detail)
        actor.state = activation.kind.definition.state_of(activation, claimed)
        activation.blob = cls._kb_codec.encode(actor.state)
        activation.tags = json.loads(claimed.tags) if claimed.tags else {}

    @classmethod
    def _kb_define(cls, definition: Definition) -> None:
        """Called when a kind of it is made known: what else the class asks of it."""
        if definition.history:
            definition.activates, definition.past = KeepingActivation, KeptStates()

    @property
    def _kb_busy(self) -> bool:
        """Whether it does something of its own between messages, so that it is not put to sleep."""
        return False

    def _kb_encoded(self) -> bytes:
        try:
            return type(self)._kb_codec.encode(self.state)
        except UNSTORABLE as error:
            whose = type(self).__qualname__ if self._kb_activation is None else self._kb_activation.who
            raise unstorable(f"the state of {whose}", error) from None

    def _kb_restore(self, blob: bytes) -> None:
        """Go back to the state that was encoded."""
        self._kb_value = type(self)._kb_codec.decode(blob)

    def format_status(self) -> object:
        return self.state

    def _kb_state(self) -> Any:
        return self.state

    # -- what a turn may ask for ---------------------------------------------------------------------

    def _kb_turn(self, what: str) -> Activation:
        activation = self._kb_activation
        if activation is None:
            raise UsageError(
                f"{what} is recorded with a turn, and this {type(self).__qualname__} has no store"
            )
        if activation.kind.definition.pooled and what in _NEED_ROW:
            raise UsageError(
                f"{what} is recorded for an actor, and {activation.who} is a pooled one without a row"
            )
        return activation

    def send(
        self, to: DurableRef[A], message: Message[A, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send a message that is delivered once this turn is committed, and exactly once.

        Messages of one actor to another arrive in the order in which they were sent.
        """
        activation = self._kb_turn("send")
        fn: Any = message
        _address("send", to).check(fn, activation.kind.definition)
        payload = arguments_of(fn).encode(args, kwargs)
        activation.kind.post(activation, to.who, to._definition.sealer, fn.__name__, payload)

    def forward(
        self, to: DurableRef[A], message: Message[A, P, R, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Have another actor give the reply: `return self.forward(accounts["bob"], Account.balance)`.

        The message is recorded with this turn and handled exactly once, and what that handler returns is what the
        caller gets, when it is committed there. Asked again with the same request id it gives the same reply.
        The caller's deadline goes on meanwhile. A message that becomes a dead letter is told as `Refused`.
        """
        activation = self._kb_turn("forward")
        fn: Any = message
        _address("forward", to).check(fn, activation.kind.definition)
        activation.effect().forwards = True
        forwarded: Any = Forwarded(
            to.who, to._definition.sealer, fn.__name__, arguments_of(fn).encode(args, kwargs)
        )
        return cast("R", forwarded)

    def pipe(self, value: T, to: DurableRef[A], message: Message[A, [T], Any, Any], /) -> T:
        """Send a value on as `send` does, and give it back: `return self.pipe(total, logs["l"], Log.add)`."""
        self.send(to, message, value)
        return value

    def publish(self, channel: Channel[T], value: T) -> None:
        """Send a value to all that have subscribed to the channel when this turn is committed; each gets it once.

        What one actor publishes arrives in order, and after what the same turn sends.
        """
        activation = self._kb_turn("publish")
        channel.check(activation.kind.definition, activation.who)
        who = activation.who
        number = first_number(activation.revision + 1) + MOST
        publication = Publication(
            (channel.system, channel.name),
            f"{who.type}/{who.key}",
            number,
            channel.encoded(value),
            lambda _: activation.kind.definition.sealer,
        )
        activation.effect().publishing.append(publication)

    def subscribe(self: D, channel: Channel[T], message: Message[D, [T], Any, Any], /) -> None:
        """Have what is published there sent to this actor as that message, once this turn is committed.

        It stays so until `unsubscribe`, whether or not the actor is awake. A channel has one message of an actor: a
        second one takes the place of the first.
        """
        activation, fn = self._kb_turn("subscribe"), cast("Any", message)
        if fn not in type(self)._kb_info.protocol:
            raise UsageError(f"subscribe takes a message of {type(self).__qualname__}, got {fn!r}")
        type(self)._kb_info.protocol[fn].check((None,), {})
        check_turn(fn)
        row = channel.subscription(activation.kind.definition, activation.who)
        effect = activation.effect()
        effect.unsubscribed = [each for each in effect.unsubscribed if each != row]
        effect.subscribed = [*(each for each in effect.subscribed if each[:4] != row), (*row, fn.__name__)]

    def unsubscribe(self, channel: Channel[Any]) -> None:
        """Have nothing more sent from there. What was published before this turn is committed still comes."""
        activation = self._kb_turn("unsubscribe")
        row = channel.subscription(activation.kind.definition, activation.who)
        effect = activation.effect()
        effect.subscribed = [each for each in effect.subscribed if each[:4] != row]
        effect.unsubscribed.append(row)

    def remind(
        self,
        name: str,
        message: Message[Any, ..., Any, Any],
        /,
        *args: Any,
        after: float | None = None,
        at: datetime | float | None = None,
        every: float | None = None,
        cron: str | None = None,
        missed: Missed = "fire_once",
        timezone: str = "UTC",
    ) -> None:
        """Send this actor a message of its own later, also if it sleeps or the program was down meanwhile.

        It is recorded with this turn and handled once, as what `send` sends. A reminder of the same name is replaced.

        Args:
            after: seconds from the commit of this turn.
            at: a datetime with a time zone, or seconds since the epoch.
            every: seconds, again and again, the first time after so many.
            cron: a line of a crontab, such as "30 3 * * 1-5"; needs the extra "cron".
            missed: what becomes of occurrences that nobody was there for, more than 10 s late: "fire_once" (default),
                one for all of them; "fire_all"; or "skip".
            timezone: of the crontab (default "UTC").
        """
        activation, fn = self._kb_turn("remind"), cast("Any", message)
        if fn not in type(self)._kb_info.protocol:
            raise UsageError(f"remind takes a message of {type(self).__qualname__}, got {fn!r}")
        payload = arguments_of(fn).encode(args, {})
        number = first_number(activation.revision + 1)
        rule = rule_of(number, after, at, every, cron, missed, timezone)
        self.forget(name)
        who, source = activation.who, timer_source(activation.who.type, activation.who.key, name)
        sealed, key_id = activation.sealer.seal(who, "message", source, payload)
        row = (*who, name, rule.first, rule.text, missed, fn.__name__, sealed, "msgpack", key_id)
        activation.effect().timers.append(row)

    def forget(self, name: str) -> None:
        """Take a reminder back, if there is one. Once this turn is committed its message comes no more."""
        activation = self._kb_turn("forget")
        who, effect = activation.who, activation.effect()
        row = (*who, checked_name("reminder's name", name, 128))
        effect.timers = [each for each in effect.timers if each[:4] != row]
        effect.forgotten.append(row)
        effect.unsent.append(timer_source(who.type, who.key, name))

    def tag(self, **tags: str) -> None:
        """Replace the tags by which `where` finds this actor."""
        check_tags(tags)
        self._kb_turn("tag").effect().tags = dict(tags)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that it has."""
        activation = self._kb_activation
        return {} if activation is None else dict(activation.tags)

    def execute(self, text: str, /, **values: Any) -> None:
        """Have a statement of your own run in the transaction of this turn; `:name` stands for a value."""
        self._kb_turn("execute").effect().statements.append((text, values))


def _address(verb: str, to: DurableRef[A]) -> DurableRef[A]:
    """What a turn is told to send to, when it is an address."""
    if not hasattr(to, "check"):
        raise UsageError(f"{verb} takes the address of a durable actor, such as accounts['bob'], got {to!r}")
    return to
