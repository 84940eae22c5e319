"""One activation: a durable actor that is awake, what it has not committed yet, and who waits for that.

A turn is one message handled. Nothing of it leaves before its write is committed: its reply is held back by the
write, as are replies that only tell what an uncommitted turn has made. Meanwhile the actor goes on with its next
messages, whose turns join the write until that is handed over. A commit that fails ends the activation; the next
message loads the row again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..._kernel._errors import UsageError
from ..._kernel._reasons import Crashed
from ..._kernel._reply import defer, take_reply
from .._failures import DurableError, RequestMismatch, is_own_fault
from ..stores import Row, Store
from ._actor_sealer import ActorSealer
from ._claim import all_answered, answered_before
from ._codec import UNSTORABLE, reply_codec, unstorable, within_limit
from ._filed import Filed, Question, file_reply, opened
from ._forward import Forwarded, Relay
from ._identity import Identity
from ._seal import Sealer
from ._write import Effects, Write, grown

if TYPE_CHECKING:
    from ..._kernel._cell import Cell
    from ..._kernel._reasons import ExitReason
    from ..._kernel._ref import ActorRef
    from ._actor import DurableActor
    from ._kind import Kind

__all__ = ["Activation"]

#: Seconds for which a reply is kept under its request's id.
KEEP_REPLIES = 86_400.0
_PROGRAM_ENDS = (KeyboardInterrupt, GeneratorExit)


class Activation:
    """See the module. It belongs to one cell, and ends with it."""

    __slots__ = (
        "_saved",
        "_unread",
        "actor",
        "answered",
        "asked",
        "blob",
        "cell",
        "consuming",
        "effects",
        "flying",
        "kind",
        "outbox_seq",
        "question",
        "ref",
        "revision",
        "sealer",
        "store",
        "tags",
        "token",
        "unstarted",
        "used",
        "void",
        "who",
        "write",
    )

    def __init__(
        self, kind: Kind, store: Store, who: Identity, token: bytes, revision: int, sealer: Sealer
    ) -> None:
        self.kind = kind
        self.store = store
        self.who = who
        self.token = token
        # Of the state in memory: ahead of the row by what is not committed yet.
        self.revision = revision
        self.sealer = sealer
        # The state as it was after the last turn, encoded; what the next one is compared with.
        self.blob = b""
        self.tags: dict[str, str] = {}
        self.cell: Cell
        self.ref: ActorRef[Any]
        self.actor: DurableActor[Any]
        self.used = 0
        # Why it has not come to its first message, if its `on_start` has failed.
        self.unstarted: tuple[str, ExitReason] | None = None
        # What has been handed over and not been answered, and what turns are added to.
        self.flying: Write | None = None
        self.write: Write | None = None
        # What the turn in hand wants done besides, made on first use.
        self.effects: Effects | None = None
        self.outbox_seq = 0
        # The message of the outbox that the turn in hand handles.
        self.consuming: tuple[str, int] | None = None
        # The request's id that it came with, and what was asked with it.
        self.asked: str | None = None
        self.question: Question
        # By source of a reminder that was forgotten here: the number up to which its messages are not wanted.
        self.void: dict[str, int] = {}
        # Replies by request id: sealed bytes, or the write that will have them, with value and question. `_unread`
        # says that the store may have more.
        self.answered: dict[str, bytes | tuple[Write, Any, Question]] = {}
        self._unread = revision > 0
        # Durability "snapshot": the revision that was handed over last.
        self._saved = revision

    # -- a turn ------------------------------------------------------------------------------------

    @property
    def is_clean(self) -> bool:
        """Whether everything that happened here is committed."""
        return self.write is None and self.flying is None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing goes on here, so that it may be put to sleep."""
        return self.is_clean and not self.actor._kb_busy

    @property
    def is_current(self) -> bool:
        """Whether its kind still counts on it."""
        return self.kind.active.get(self.who.key) is self

    @property
    def is_unread(self) -> bool:
        """Whether the store may have replies that are not known here."""
        return self._unread

    def effect(self) -> Effects:
        """What the turn in hand wants done."""
        if self.effects is None:
            self.effects = Effects()
        return self.effects

    def finish(self, run: Any, value: Any, request_id: str | None) -> Any:
        """The handler has returned: its turn joins the write, and the reply waits for it.

        Returns:
            What the handler's wrapper returns: the value itself when nothing has to wait.
        """
        blob, effects = self.actor._kb_encoded(), self.effects
        if blob == self.blob and effects is None and request_id is None and self.consuming is None:
            return value if self.write is self.flying is None else self.hold(value)
        if self.kind.definition.durability != "commit":
            return self._finish_loosely(value, blob, request_id)
        if blob != self.blob:
            self.kind.definition.codec.storable("the state", self.who, blob)
        return self._join(run, value, request_id, blob, self.revision + 1)

    def _finish_loosely(self, value: Any, blob: bytes, request_id: str | None) -> Any:
        """Durability "snapshot" or "memory": the reply does not wait."""
        if self.effects is not None or self.consuming is not None or request_id is not None:
            raise UsageError(
                f"{self.who} was given something to record with this turn, and its durability is "
                f'{self.kind.definition.durability!r}; those need "commit"'
            )
        if self.kind.definition.durability == "snapshot":
            self.changed(blob)
        else:
            self.blob = blob
            self.revision += 1
        return value

    def _join(
        self,
        run: Any,
        value: Any,
        request_id: str | None,
        blob: bytes,
        revision: int,
        events: list[Row] | None = None,
    ) -> Any:
        write, effects = self.write, self.effects
        if effects is not None and effects.forwards and not isinstance(value, Forwarded):
            raise UsageError(
                f"{run.__qualname__} has forwarded its reply; return what `self.forward(...)` gives"
            )
        is_new = write is None
        if write is None:
            write = self.write = Write(self.who, self.token, self.revision, self, self.tags)
        if isinstance(value, Forwarded):
            self.effect().forwarded.append(value.bind(self, request_id))
        if request_id is not None:
            sealed = self._filed(run, value, request_id)
            write.requests = grown(write.requests, (request_id, revision, sealed, KEEP_REPLIES))
            self.answered[request_id] = (write, value, self.question)
        if events is not None:
            if write.events:
                write.events.extend(events)
            else:
                write.events = events
        self.blob, self.revision, self.effects = blob, revision, None
        write.after = revision
        if effects is not None:
            effects.message = run.__name__
            write.effects = grown(write.effects, effects)
            for source in effects.unsent:
                self.void[source] = first_number(revision)
            if effects.tags is not None:
                self.tags = write.tags = effects.tags
        if self.consuming is not None:
            write.consumed = grown(write.consumed, self.consuming)
            self.consuming = None
        self._reply_with(write, value, is_error=False)
        if is_new:
            # Last, since it may be handed over, and sealed, this very moment.
            self.kind.submit(write)

    def _filed(self, run: Any, value: Any, request_id: str) -> bytes:
        """What is filed under the request's id."""
        if isinstance(value, Forwarded):
            return value.filed(self, request_id)
        what = f"the reply of {run.__qualname__}"
        try:
            reply = within_limit(what, reply_codec(run).encode(value))
        except UNSTORABLE as error:
            raise unstorable(what, error) from None
        return file_reply(self.sealer, self.who, request_id, self.question, reply)

    def stored(self, write: Write) -> tuple[Any, ...] | None:
        """See `Writer.stored`: always the state."""
        self.handed_over(write)
        return self.kind.definition.stored(self.sealer, self.who, write.after, self.blob)

    def hold(self, value: Any, *, is_error: bool = False) -> Any:
        """Reply when what the turn has seen is committed; it has changed nothing itself."""
        write = self.write or self.flying
        if write is None:
            return defer().fail(value) if is_error else value
        return self._reply_with(write, value, is_error=is_error)

    def _reply_with(self, write: Write, value: Any, *, is_error: bool) -> None:
        request = take_reply()
        if request is None:
            return
        if isinstance(value, Forwarded):
            write.replies.append((Relay(self.kind.relays, value.address, request), None, False))
        else:
            write.replies.append((request, value, is_error))

    def failed(self, error: BaseException) -> None:
        """The handler has raised: nothing of its turn is to be."""
        consuming = self.dropped()
        # Of one that was lost the message is with its successor by now. And one that was ended from the outside, or
        # with the program, has not failed at it.
        own = isinstance(error, Exception) or self.cell.doom is None
        if consuming is not None and own and self.is_current and not isinstance(error, _PROGRAM_ENDS):
            self.kind.deliveries.failed(self.who.key, consuming, error)

    def dropped(self) -> tuple[str, int] | None:
        """Forget what the turn in hand wanted done; gives the message of the outbox that it handled."""
        consuming, self.consuming = self.consuming, None
        self.effects = None
        return consuming

    def changed(self, blob: bytes) -> None:
        """Durability "snapshot": the state has changed, and is saved later."""
        self.blob = self.kind.definition.codec.storable("the state", self.who, blob)
        self.revision += 1
        self.kind.save_later(self)

    def save(self) -> None:
        """Have what has changed since the last save written."""
        if self.write is not None:
            self._saved = self.write.after = self.revision
        elif self._saved != self.revision:
            # All turns since then are one write.
            write = Write(self.who, self.token, self._saved, self, self.tags)
            write.after = self.revision
            self._saved = self.revision
            self.write = write
            self.kind.submit(write)

    # -- commits -----------------------------------------------------------------------------------

    def handed_over(self, write: Write) -> None:
        """The write is on its way: what comes now belongs to the next one."""
        self.flying = write
        if not write.revision and isinstance(self.sealer, ActorSealer):
            write.data_key = self.sealer.row()
        if self.write is write:
            self.write = None

    def committed(self, write: Write, error: Exception | None) -> None:
        """The write is committed, or has failed; either way all who waited for it hear of it."""
        if self.flying is write:
            self.flying = None
        if error is None:
            for request, value, is_error in write.replies:
                if is_error:
                    request.fail(value)
                else:
                    request.answer(value)
            for request_id, _, sealed, _ in write.requests:
                self.answered[request_id] = sealed
                self.kind.relays.filed(self.who, request_id)
            if write.effects or write.consumed:
                self.kind.deliveries.committed(self.who.key, write)
            return
        if write.consumed and self.is_current and is_own_fault(error):
            self.kind.deliveries.rejected(self.who.key, write.consumed, error)
        self.kind.lost(self, error)
        self.cell.condemn(Crashed(error))
        for request, _, _ in write.replies:
            request.fail(fresh(error))

    # -- requests that carry an id ------------------------------------------------------------------

    async def look_up(self, request_id: str) -> None:
        """Know whether a request was answered before this activation, before it is sent here."""
        if not self._unread or request_id in self.answered:
            return
        found = await self.store.read(lambda session: all_answered(session, self.who))
        if found is not None:
            for id, (_, sealed) in found.items():
                self.answered.setdefault(id, sealed)
            self._unread = False
            return
        one = await self.store.read(lambda session: answered_before(session, self.who, request_id))
        if one is not None:
            self.answered.setdefault(request_id, one[1])

    def repeated(self, run: Any, request_id: str) -> Any:
        """The reply of a request that has been handled before; it may still wait for its commit."""
        found = self.answered[request_id]
        if isinstance(found, bytes):
            filed = opened(self.sealer, self.who, request_id, found)
        else:
            filed = Filed(found[2], b"", None)
        try:
            filed.question.check(self.who, request_id, self.question)
        except RequestMismatch as mismatch:
            return self._mismatched(mismatch)
        if self.consuming is not None:
            # The message was put as well, and called before it was delivered: all that is left is its row.
            return self.finish(run, None, None)
        if not isinstance(found, bytes):
            return self._reply_with(found[0], found[1], is_error=False)
        if filed.address is not None:
            request = take_reply()
            if request is not None:
                self.kind.relays.start(filed.address, request)
            return None
        try:
            return reply_codec(run).decode(filed.reply)
        except msgspec.MsgspecError as error:
            mistake = UsageError(
                f"the request {request_id!r} of {self.who} has a reply that {run.__qualname__} does not give any "
                f"more ({error}); ask with another id"
            )
            return self.hold(mistake, is_error=True)

    def _mismatched(self, mismatch: RequestMismatch) -> Any:
        """The request's id is another question's; a message of the outbox is done with."""
        consuming = self.dropped()
        if consuming is not None:
            self.kind.deliveries.refused(self.who.key, consuming, mismatch)
        return self.hold(mismatch, is_error=True)


def first_number(revision: int) -> int:
    """The first number of what a turn sends: a source's numbers rise with the turns."""
    return revision << 20


def fresh(error: Exception) -> Exception:
    """The same error once more: each caller gets an exception of its own."""
    if not isinstance(error, DurableError):
        return error
    copy = type(error).__new__(type(error), *error.args)
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy
