"""`ActorRef`: the typed address of an actor, and how a message gets from here to there.

`call` is the hot path and has a shortcut. When the callee is idle and the message is a plain `def`,
nothing would be gained by queueing: its handler runs on the spot, in a context of its own, as the
callee, and the caller goes on with the reply. That is what the run loop would do next anyway, less
the two trips through its queue. A budget per turn keeps it fair. In every other case (callee busy,
suspended, starting, `async def`, budget spent) the call parks the caller on a `Request`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from threading import get_ident
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from ._address import Address
from ._calls import check_within, given_up, own_task, promised, refuse_cycle, set_deadline
from ._cell import DEAD, DOOMED, IDLE, NO_KWARGS, QUEUED, REMOTE, RESTING, RUNNING, Cell, Item
from ._errors import ActorExited, CallCycle, CallTimeout, NotRunning
from ._message import MARK, Entry, Message, describe, no_attribute, no_such_message
from ._reasons import NoConnection
from ._wait import Request

if TYPE_CHECKING:
    from ._actor import Actor
    from ._reply import ReplyTo
    from ._threadsafe import ThreadsafeRef
    from ._timers import Timer

AC = TypeVar("AC", bound="Actor", covariant=True)
AA = TypeVar("AA", bound="Actor")
P = ParamSpec("P")
RR = TypeVar("RR")
V = TypeVar("V")


class ActorRef(Address, Generic[AC]):
    """Address of an actor or a bare process.

    A *pid ref* names one incarnation. A *stable ref*, from `Supervisor.ref` or `named`, names a place
    and finds whoever is there at each send, so it survives restarts. Refs are equal when they name
    the same incarnation or the same place.
    """

    __slots__ = ()

    # -- messages --------------------------------------------------------------------------

    async def call(
        self: ActorRef[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RR:
        """Send a message and wait for the reply, 5 s at most; `within` sets another deadline.

        Raises:
            CallTimeout: no reply in time. An actor that has not begun on the message never will.
            ActorExited: the callee ended first; at once, not after the deadline.
            NotRunning: nobody is there.
            MailboxFull: the callee's mailbox is at its limit.
            CallCycle: the reply could never come, because the callee waits for the caller.
            UsageError: no such message, or arguments that do not fit it.
        """
        cell = self._cell
        try:
            entry = cell.protocol[message]
        except (KeyError, TypeError):
            cell, entry = self._find(message)
        count = len(args)
        if count != entry.count or kwargs:
            entry.check(args, kwargs)
            count = -1
        node = cell.node
        caller = node.current
        if get_ident() != node.thread:
            raise self._wrong_thread()

        if cell.state == IDLE and node.inline_left and not entry.is_async:
            node.inline_left -= 1
            cell.state = RUNNING
            node.current = cell
            # Read by `defer` and `time_left`, should the handler ask.
            node.item = item = (entry, caller, self)
            try:
                # Unpacking `*args` costs as much as the rest; the common counts are spelled out.
                if count == 1:
                    result = copy_context().run(entry.fn, cell.actor, args[0])
                elif not count:
                    result = copy_context().run(entry.fn, cell.actor)
                else:
                    result = copy_context().run(entry.fn, cell.actor, *args, **kwargs)
            except BaseException as error:
                node.current = caller
                request = self._ran(cell, entry, args, kwargs, None, error)
            else:
                node.current = caller
                if cell.state == RUNNING and node.item is item and result.__class__ is not CoroutineType:
                    cell.handled += 1
                    if cell.mailbox is None:
                        cell.state = IDLE
                    else:
                        cell.rest()
                    if caller is None or caller.state != DOOMED:
                        return result  # type: ignore[no-any-return]
                request = self._ran(cell, entry, args, kwargs, result, None)
        else:
            request = Request(cell, message, node.loop.time(), None)
            beyond = None
            if caller is not None and cell.state != IDLE and cell.state != REMOTE:
                beyond = refuse_cycle(caller, cell, message)
            set_deadline(request, self._within, caller)
            try:
                cell.offer((entry.fn, args, kwargs, copy_context(), request))
                if beyond is not None:
                    beyond.route.probe(beyond, request)
            except BaseException:
                given_up(request)
                raise
        try:
            return cast("RR", await request.outcome(own_task(caller, node), node.loop))
        finally:
            given_up(request)

    def cast(
        self: ActorRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send a message and do not wait for anything. To a dead actor it is silently lost.

        Raises:
            MailboxFull: the mailbox is at its limit and its policy is `reject`.
            UsageError: no such message, or arguments that do not fit it.
        """
        cell = self._cell
        try:
            entry = cell.protocol[message]
        except (KeyError, TypeError):
            try:
                cell, entry = self._find(message)
            except NotRunning:
                return
        count = len(args)
        if count != entry.count or kwargs:
            entry.check(args, kwargs)
            item: Item = (entry.fn, args, kwargs, copy_context(), None)
        elif count == 1:
            item = (entry.fn, args[0], None, copy_context(), None)
        else:
            item = (entry.fn, args, NO_KWARGS, copy_context(), None)
        node = cell.node
        if get_ident() != node.thread:
            raise self._wrong_thread()
        mailbox = cell.mailbox
        if mailbox is None:
            mailbox = cell.mailbox = deque()
        elif len(mailbox) >= cell.limit and not cell.make_room(item):
            return
        mailbox.append(item)
        if cell.state <= RESTING:
            cell.state = QUEUED
            node.enqueue(cell)

    async def send(
        self: ActorRef[AA], message: Message[AA, P, Any, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Like `cast`, but waits for room when the mailbox is full, until the deadline.

        Raises:
            CallTimeout: no room in time; the message was not delivered.
            NotRunning: nobody is there, or the actor ended while this waited.
            UsageError: no such message, or arguments that do not fit it.
        """
        cell, entry = self._find(message)
        if kwargs or len(args) != entry.count:
            entry.check(args, kwargs)
        node = cell.node
        if get_ident() != node.thread:
            raise self._wrong_thread()
        item: Item = (entry.fn, args, kwargs, copy_context(), None)
        waits = cell.traits is not None and cell.traits.room
        if waits or (cell.mailbox is not None and len(cell.mailbox) >= cell.limit):
            await self._wait_room(cell, message, item)
        else:
            cell.offer(item)

    async def _wait_room(self, cell: Cell, message: Any, item: Item) -> None:
        """Wait until the cell has taken the item in."""
        node = cell.node
        room = Request(cell, message, node.loop.time(), None)
        set_deadline(room, self._within, node.current)
        try:
            cell.wait_room(room, item)
            await room.outcome(own_task(node.current, node), node.loop)
        finally:
            given_up(room)

    def tell(self, value: object) -> None:
        """Send any object: a bare process receives it, an actor's `on_info` gets it.

        Raises:
            MailboxFull: the mailbox is at its limit and its policy is `reject`.
            NotRunning: this ref is a name that nobody holds; a dead pid swallows it silently.
        """
        cell = self._target()
        if get_ident() != cell.node.thread:
            raise self._wrong_thread()
        if cell.state != DEAD:
            cell.offer((cell.info.on_info, value, None, copy_context(), None))
        elif self._place is not None and self._place.by_name:
            raise self._not_running(repr(value))

    async def ask(self, make: Callable[[ReplyTo[V]], object]) -> V:
        """Send the object that `make(reply_to)` builds and wait for what is sent to `reply_to`.

        Raises:
            CallTimeout, ActorExited, NotRunning: as `call`.
        """
        from ._reply import ReplyTo

        cell = self._target()
        if cell.state == DEAD:
            raise self._not_running("ask")

        node = cell.node
        request = promised(cell, "ask", self._within)
        try:
            cell.offer((cell.info.on_info, make(ReplyTo(request)), None, copy_context(), None))
            node.owe(cell, request)
            return cast("V", await request.outcome(own_task(node.current, node), node.loop))
        finally:
            given_up(request)

    def forward(
        self: ActorRef[AA], message: Message[AA, P, RR, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> RR:
        """Let this actor answer the call in hand: `return other.forward(Other.find, key)`.

        What it returns stands for the reply and is of no other use.
        """
        from ._reply import in_hand, take_reply

        _, item = in_hand()
        request = take_reply()
        try:
            cell, entry = self._find(message)
            if kwargs or len(args) != entry.count:
                entry.check(args, kwargs)
        except Exception as error:
            if request is not None:
                request.fail(error)
            raise
        if request is not None:
            caller = item[1] if len(item) == 3 else None if request.task is None else request.task.cell
            if caller is not None:
                try:
                    refuse_cycle(caller, cell, message)
                except CallCycle as cycle:  # the caller's mistake and not ours
                    request.fail(cycle)
                    return cast("RR", None)
            request.target, request.deferred, request.started = cell, False, False
        try:
            cell.offer((entry.fn, args, kwargs, copy_context(), request))
        except Exception as error:
            if request is not None:
                request.fail(error)
            raise
        return cast("RR", None)

    def within(self, seconds: float | None) -> ActorRef[AC]:
        """The same address with another deadline for its calls, in seconds; None waits for ever."""
        check_within(seconds)
        if seconds == self._within:
            return self
        return ActorRef(self._cell, self._place, seconds)

    def send_after(
        self: ActorRef[AA],
        seconds: float,
        message: Message[AA, P, Any, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Timer:
        """Cast the message once, `seconds` from now. The timer's `cancel` returns what was left."""
        return self._timer(seconds, message, args, kwargs, repeat=False)

    def send_interval(
        self: ActorRef[AA],
        seconds: float,
        message: Message[AA, P, Any, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Timer:
        """Cast the message every `seconds`, until the timer is cancelled or the actor has ended."""
        return self._timer(seconds, message, args, kwargs, repeat=True)

    def _timer(self, seconds: float, message: Any, args: Any, kwargs: Any, *, repeat: bool) -> Timer:
        from ._timers import Timer

        cell = self._target()
        if cell.state != DEAD:
            _, entry = self._find(message)
            if kwargs or len(args) != entry.count:
                entry.check(args, kwargs)
        return Timer(cell.node, seconds, lambda: self.cast(message, *args, **kwargs), self, repeat=repeat)

    @property
    def threadsafe(self) -> ThreadsafeRef[AC]:
        """The same address for use on threads other than the event loop's."""
        from ._threadsafe import ThreadsafeRef

        return ThreadsafeRef(self)

    # -- inside ------------------------------------------------------------------------------

    if not TYPE_CHECKING:  # they are to report such an attribute

        def __getattr__(self, name):
            # Called only for what is not there.
            protocol = None if name.startswith("_") else self._target().info.protocol
            raise no_attribute(self, name, protocol)

    def _find(self, message: Any) -> tuple[Cell, Entry]:
        """Resolve the address and the message, or say what is wrong with either."""
        cell = self._target()
        try:
            entry = cell.info.protocol.get(message)
        except TypeError:
            entry = None
        if entry is None and not (cell.state == DEAD and getattr(message, MARK, False)):
            raise no_such_message(cell.info.name, cell.info.protocol, message)
        if cell.state == DEAD or entry is None:
            if isinstance(cell.doom, NoConnection):
                raise ActorExited(cell.label(), describe(message), cell.doom, maybe_executed=False)
            raise self._not_running(describe(message))
        return cell, entry

    def _ran(
        self,
        cell: Cell,
        entry: Entry,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        error: BaseException | None,
    ) -> Request:
        """The shortcut was taken and left more than a plain reply: go on as if it had been queued."""
        node = cell.node
        item = node.item
        # `defer` has put an ordinary item with a request in the place of the shortcut's.
        request = item[4] if item is not None and len(item) == 5 else None
        deferred = request is not None
        if request is None:
            request = Request(cell, entry.fn, node.loop.time(), None)
            request.started = True
        if request.deadline is None:
            try:
                set_deadline(request, self._within, node.current)
            except CallTimeout:  # the callee has run already, so its turn must be brought to its end
                request.expire(node.loop.time())
        real = (entry.fn, args, kwargs, copy_context(), request)
        if error is not None:
            node.crash(cell, error, real)
            node.enqueue(cell)
            if isinstance(error, KeyboardInterrupt):
                raise error
        elif result.__class__ is CoroutineType:
            node.drive(cell, result, real)
        elif cell.doom is not None:
            if not deferred:
                cell.held = (request, result, cell.state != DOOMED)
            cell.state = DOOMED
            node.enqueue(cell)
        else:
            if cell.state == RUNNING:
                cell.rest()
            if not deferred:
                request.answer(result)
        return request

    def __reduce__(self) -> tuple[Any, ...]:
        from ._route import ref_from, route_of

        return ref_from, (route_of(self._cell.node, repr(self)).address_of_ref(self),)
