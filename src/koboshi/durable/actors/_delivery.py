"""Messages that are delivered once: from the outbox into turns of their targets.

A message is a row of the outbox until the very transaction of the turn that has handled it, which takes it out. So
it is handled once whatever crashes in between, and it needs no list of what was seen. For each source and target
they are handled in order: one that fails is tried again with a growing delay, and those behind it wait; after
`max_attempts` it becomes a dead letter with its report, and the actor goes on with the next.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..._kernel._cell import DEAD
from ..._kernel._errors import MailboxFull
from ..._supervision._restart import Backoff
from .._error_text import first_line, text_of, trace_of
from .._failures import WrongKey
from ..stores import Change, Query, Session
from ..stores._tables import OUTBOX
from ._claim import answered_before
from ._codec import arguments_of
from ._erasing import Erasures
from ._identity import Identity
from ._knock import Knock
from ._letter import DUE, Letter, requeues, sealed_report
from ._patience import Patience
from ._turn import CONSUMING, REQUEST_ID

if TYPE_CHECKING:
    from ._activation import Activation
    from ._kind import Kind
    from ._write import Write

__all__ = ["Deliveries"]

# Seconds between looks at the outbox for what others have sent, and how much is taken at once.
_EVERY = 1.0
_PORTION = 1_000
_START = ("", -1)

_log = logging.getLogger("koboshi.durable")

_KEY = ("system_name", "source", "seq")


class Deliveries:
    """Of one kind: takes its messages out of the outbox and sees to it that each is handled once."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._definition = kind.definition
        self._loop = asyncio.get_running_loop()
        # Read and not settled yet, by source and number.
        self._open: dict[tuple[str, int], Letter] = {}
        # By key: those that have been put into the mailbox of the activation, in order.
        self._sent: dict[str, list[Letter]] = {}
        # Sources with a message to a key that has failed: what is behind it is read when its time has come.
        self._held: set[tuple[str, str]] = set()
        # Of these, what becomes of the failed one is being written: until then nothing behind it may pass.
        self._settling: set[tuple[str, str]] = set()
        # Keys that are being woken for their messages, and those that are awake and have not been given them.
        self._knocked: set[str] = set()
        self._expected: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False
        # Something was left for the next look: nothing newer may pass it.
        self._dirty = False
        # Whether the look that is on was asked for because of that, and not only because its time had come.
        self._sought = False
        # Sources on this node whose older messages have all been read since they are here; those of which that is
        # still to be found out, and those of which the look that is on finds it out.
        self._trusted: set[str] = set()
        self._unproven: set[str] = set()
        self._proving: set[str] = set()
        # Somebody has asked for a look during one.
        self._again = False
        self._behind = True
        self._read_to = _START
        # Sources with a message to a key that a portion has left where it is: further ones leave what is behind it.
        self._left: set[tuple[str, str]] = set()
        # How often dead letters had been made ready when the look that is on took its first portion.
        self._requeues: int | None = None
        self._backoff = Backoff(0.1, 60.0, jitter=0.5)
        self._patience = Patience(self._loop, self.look_soon)
        self._timers = self._definition.timers(kind)
        self._erasures = Erasures(kind)
        self.delivered = self.dead = 0

    @property
    def in_flight(self) -> int:
        """How many are on their way, as far as is known; what is to be read again counts as one."""
        return len(self._open) + len(self._knocked) + (self._dirty or (self._looking and self._sought))

    def begin(self) -> None:
        """Look for what was left by others, and from then on again and again."""
        self._look()
        self._timers.begin()

    def end(self) -> None:
        """Look no more; what is not handled is found by the next one."""
        self._timers.end()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._looking = True

    # -- finding -----------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._looking:
            self._again = True
            return
        self._sought = self._dirty
        self._looking, self._again, self._dirty = True, False, False
        self._proving |= self._unproven
        self._unproven = set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        system, type, after = self._definition.system, self._definition.type, self._read_to

        def read(session: Session) -> list[tuple[Any, ...]]:
            now = session.now
            until = now + self._backoff.max
            return session.fetch(DUE, system, requeues(type), type, now, until, *after, _PORTION)

        try:
            self._erasures.submit(read, self._found)
        except Exception as error:
            self._found([], error)

    def _found(self, rows: list[tuple[Any, ...]], error: Exception | None) -> None:
        if self._kind._use is None:
            return
        self._looking = False
        if error is not None:
            _log.warning("the outbox of %s cannot be read: %s", self._definition.type, error)
            rows = []
            self._dirty |= self._sought
        if rows and self._has_passed(rows[0][-1]):
            self._read_to, self._dirty = _START, True
            self._look()
            return
        if self._read_to == _START:
            self._left.clear()
        letters = [Letter(*row[:-1]) for row in rows if (row[0], row[1]) not in self._open]
        self._behind = len(rows) >= _PORTION
        # In portions from the first to the last: what cannot be delivered now must not hide what can.
        self._read_to = (str(rows[-1][0]), int(rows[-1][1])) if self._behind else _START
        if not self._behind and error is None:
            self._trusted |= self._proving
            self._proving = set()
        self._left.update(
            pair for letter in letters if (pair := (letter.source, letter.key)) in self._settling
        )
        for letter in letters:
            self._held.discard((letter.source, letter.key))
        for letter in letters:
            self._take_in_turn(letter)
        if self._behind or self._again:
            self._loop.call_soon(self._look)
        else:
            self._timer = self._loop.call_later(_EVERY, self._look)

    def _has_passed(self, requeues: int | None) -> bool:
        """Whether some that were made ready since the look began may be in front of where it is."""
        is_first = self._read_to == _START
        known, self._requeues = self._requeues, requeues
        return not is_first and known != requeues

    def posted(self, letters: list[Letter]) -> None:
        """These have just been committed by this very node: no need to read them again.

        Only where nothing older of the same source can be waiting: when all that was left for a look has been
        looked at, and the source was here for all of it.
        """
        if self._behind or self._looking or self._dirty:
            self._look_soon()
            return
        for letter in letters:
            if (letter.source, letter.seq) in self._open:
                continue  # a look that was committed with it has found it already
            if letter.is_put or letter.source in self._trusted:
                self._take(letter)
            else:
                # It may have sent from another host before, which only the store knows.
                self._unproven.add(letter.source)
                self._look_soon()

    def distrust(self, source: str) -> None:
        """The source is no longer here: it may send from elsewhere before it comes back."""
        for sources in (self._trusted, self._unproven, self._proving):
            sources.discard(source)

    def _look_soon(self) -> None:
        self._dirty = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(0.0, self._look)

    def look_soon(self) -> None:
        """There is something for here that it has not heard of, or that it has left."""
        if self._kind._use is not None:
            self._look_soon()

    # -- delivering --------------------------------------------------------------------------------

    def _take_in_turn(self, letter: Letter) -> None:
        """Take what was read, unless one in front of it was left."""
        pair = letter.source, letter.key
        if pair not in self._left:
            self._take(letter)
            if (letter.source, letter.seq) not in self._open:
                self._left.add(pair)

    def _take(self, letter: Letter) -> None:
        if (letter.source, letter.key) in self._held:
            return
        if self._patience.holds_back(letter.key, (each.key for each in self._open.values())):
            return
        activation = self._kind.active.get(letter.key)
        if activation is not None and activation.cell.state != DEAD:
            self._open[letter.source, letter.seq] = letter
            self._expected.discard(letter.key)
            self._deliver(letter, activation)
            return
        # Whoever had the actor until now may have handled the letter since it was read. Once the actor is
        # ours nobody else can, so that is when it is read again.
        self._dirty = True
        if letter.key not in self._knocked:
            self._knocked.add(letter.key)
            self._kind.wake(letter.key, Knock(self._answered, letter.key))

    def _answered(self, key: str, activation: Activation | None, error: BaseException | None) -> None:
        self._knocked.discard(key)
        if activation is not None:
            self._expected.add(key)
            self._look_soon()
        else:
            # Held by another host, which delivers to it itself, or not to be started: the next look tries again.
            _log.info("%s/%s cannot be given its messages now: %s", self._definition.type, key, error)

    def _deliver(self, letter: Letter, activation: Activation) -> None:
        definition = self._definition
        fn = definition.message(letter.message)
        if fn is None:
            self._bury(letter, f"{definition.type} has no message {letter.message!r}")
            return
        who = Identity(definition.system, definition.type, letter.key)
        try:
            blob = activation.sealer.open(who, "message", letter.number, bytes(letter.payload))
            args, kwargs = arguments_of(fn).decode(blob)
        except WrongKey as failure:
            # No fault of the message: it waits for a program that has its key, and what is behind it too.
            self._open.pop((letter.source, letter.seq), None)
            self._held.add((letter.source, letter.key))
            self._patience.keyless(letter.key, failure)
            return
        except Exception as failure:
            self._bury(letter, f"its arguments cannot be read: {text_of(failure)}")
            return
        context = copy_context()
        context.run(CONSUMING.set, (letter.source, letter.seq))
        request_id = letter.request(definition.type)
        context.run(REQUEST_ID.set, request_id)
        activation.used = self._kind.tick
        if request_id is not None and activation.is_unread:
            post = functools.partial(self._post, letter, activation, fn, args, kwargs, context)
            self._look_up(letter, request_id, activation, post)
        else:
            self._post(letter, activation, fn, args, kwargs, context)

    def _look_up(
        self, letter: Letter, request_id: str, activation: Activation, post: Callable[[], None]
    ) -> None:
        """A call with the same request id may have been handled before this activation."""

        def done(found: tuple[int, bytes] | None, error: Exception | None) -> None:
            if error is not None or not activation.is_current:
                self._open.pop((letter.source, letter.seq), None)
                if self._kind._use is not None:
                    self._look_soon()
                return
            if found is not None:
                activation.answered.setdefault(request_id, found[1])
            post()

        read = Query(lambda session: answered_before(session, activation.who, request_id))
        try:
            self._kind.store.submit(read, done)
        except Exception as error:
            done(None, error)

    def _post(
        self,
        letter: Letter,
        activation: Activation,
        fn: Any,
        args: list[Any],
        kwargs: Any,
        context: Any,
    ) -> None:
        cell = activation.cell
        if cell.state == DEAD:
            self._open.pop((letter.source, letter.seq), None)
            self._look_soon()
            return
        entry = cell.protocol[fn]
        try:
            cell.offer((entry.fn, tuple(args), kwargs, context, None))
        except MailboxFull:
            self._open.pop((letter.source, letter.seq), None)
            self._held.add((letter.source, letter.key))
            return
        self._sent.setdefault(letter.key, []).append(letter)

    # -- settling ----------------------------------------------------------------------------------

    def committed(self, key: str, write: Write) -> None:
        """A write is committed: what it has consumed is settled, what it sends can be delivered."""
        for number in write.consumed:
            letter = self._open.pop(number, None)
            if letter is not None:
                self.delivered += 1
                self._unsent(letter)
                self._patience.progressed(key)
        for some in write.effects:
            if some.outbox or some.published or some.forwarded:
                self._kind.share([*some.outbox, *some.published, *some.forwarded])
            if some.timers:
                self._timers.look_soon()

    def void(self, consuming: tuple[str, int]) -> None:
        """A reminder was forgotten before its turn came; its row has gone."""
        letter = self._open.pop(consuming, None)
        if letter is not None:
            self._unsent(letter)

    def _unsent(self, letter: Letter) -> None:
        sent = self._sent.get(letter.key)
        if sent is not None and letter in sent:
            sent.remove(letter)
            if not sent:
                del self._sent[letter.key]

    def ended(self, key: str) -> None:
        """Its activation has ended: what was in the mailbox was not handled, and is read again."""
        for letter in (sent := self._sent.pop(key, ())):
            self._open.pop((letter.source, letter.seq), None)
            self._left.add((letter.source, letter.key))
        if sent or key in self._expected:
            self._expected.discard(key)
            self._patience.ended(key)

    def rejected(self, key: str, consumed: list[tuple[str, int]], error: Exception) -> None:
        """The database has refused the write of these messages' turns, and would refuse it again."""
        if len(consumed) == 1:
            self.failed(key, consumed[0], error)
        self._patience.one_by_one(key, len(consumed))

    def failed(self, key: str, consuming: tuple[str, int], error: BaseException) -> None:
        """The handler of a message has raised: again later, or never."""
        letter = self._open.get(consuming)
        if letter is None:
            return
        report = trace_of(error)
        attempts = letter.attempts + 1
        if attempts >= self._definition.max_attempts:
            self._bury(letter, report, error)
            return
        delay = self._backoff.delay(attempts, random.random)
        self._held.add((letter.source, letter.key))
        row, sealed = letter.row(self._definition), sealed_report(self._definition, letter, report)

        def later(session: Session) -> None:
            change = ("attempts", "not_before", "report")
            session.update(OUTBOX, _KEY, change, [(*row, attempts, session.now + delay, sealed)])

        self._settle(letter, later)
        self._loop.call_later(delay, self._look)

    def refused(self, key: str, consuming: tuple[str, int], error: Exception) -> None:
        """The actor has refused a message, which trying again would not change."""
        letter = self._open.get(consuming)
        if letter is not None:
            self._bury(letter, f"{type(error).__name__}: {text_of(error)}")

    def _bury(self, letter: Letter, report: str, error: BaseException | None = None) -> None:
        self.dead += 1
        row, sealed = letter.row(self._definition), sealed_report(self._definition, letter, report)

        def bury(session: Session) -> None:
            change = ("state", "attempts", "not_before", "report")
            session.update(OUTBOX, _KEY, change, [(*row, "dead", letter.attempts + 1, session.now, sealed)])

        target = f"{self._definition.type}/{letter.key}"
        why = report if error is None else f"{type(error).__name__}: {first_line(error)}"
        _log.warning(
            "the message %r to %s (%s) is a dead letter after attempt %d: %s",
            *(letter.message, target, letter.number, letter.attempts + 1, why),
        )
        self._settle(letter, bury)

    def _settle(self, letter: Letter, change: Callable[[Session], None]) -> None:
        """Write what becomes of a message; until that is done it is not read again."""
        self._unsent(letter)
        pair = letter.source, letter.key
        self._settling.add(pair)

        def done(_: None, error: Exception | None) -> None:
            self._settling.discard(pair)
            self._open.pop((letter.source, letter.seq), None)
            request_id = letter.request(self._definition.type)
            if request_id is not None:
                who = Identity(self._definition.system, self._definition.type, letter.key)
                self._kind.relays.filed(who, request_id)
            if error is not None:
                _log.warning("what became of %s could not be written: %s", letter.number, error)
            self._patience.progressed(letter.key)
            self.look_soon()

        try:
            self._kind.store.submit(Change(change), done)
        except Exception as error:
            done(None, error)
