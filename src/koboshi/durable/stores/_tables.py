"""The tables, as data: every engine makes its own DDL from this, in numbered migrations.

All names begin with `kb_`, because the tables live in the user's own database. Keys are stored in full,
never as a hash of one. Text that is compared is compared byte by byte.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "TABLES", "Column", "Index", "Table"]

Kind = Literal["text", "long_text", "bytes", "integer", "real"]


class Column(NamedTuple):
    """One column. `length` is in characters, of "text" only: what it holds can be part of a key."""

    name: str
    kind: Kind
    length: int = 0
    nullable: bool = False


class Index(NamedTuple):
    """One index, not unique."""

    name: str
    columns: tuple[str, ...]


class Table(NamedTuple):
    """One table; its primary key is its identity, and everything else is found through it or an index."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(each for each in self.columns if each.name == name)


def _text(name: str, length: int, *, nullable: bool = False) -> Column:
    return Column(name, "text", length, nullable)


_SYSTEM = _text("system_name", 64)
_ACTOR = (_SYSTEM, _text("actor_type", 128), _text("actor_key", 255))
_ACTOR_KEY = ("system_name", "actor_type", "actor_key")

# Who is alive, by the database's clock. `writes` counts the host's transactions inside them, so that a
# COMMIT whose answer got lost can be looked up.
HOST = Table(
    "kb_host",
    ("host_id",),
    (
        _text("host_id", 64),
        _text("incarnation", 64),
        Column("lease_until", "real"),
        _text("state", 16),
        Column("labels", "long_text"),
        Column("writes", "integer"),
    ),
)
# The fence: a commit names token and revision, and must find its row.
ACTOR = Table(
    "kb_actor",
    _ACTOR_KEY,
    (
        *_ACTOR,
        _text("owner", 64, nullable=True),
        Column("token", "bytes", nullable=True),
        Column("epoch", "integer"),
        Column("revision", "integer"),
        Column("state", "bytes", nullable=True),
        # The revision that `state` is of: behind `revision` where events say the rest.
        Column("state_revision", "integer"),
        _text("codec", 16),
        _text("key_id", 64, nullable=True),
        Column("schema_version", "integer"),
        Column("tags", "long_text", nullable=True),
        Column("updated_at", "real"),
    ),
    (Index("kb_actor_owner", ("owner",)),),
)
EVENT = Table(
    "kb_event",
    (*_ACTOR_KEY, "seq"),
    (
        *_ACTOR,
        Column("seq", "integer"),
        _text("event_type", 128),
        Column("schema_version", "integer"),
        Column("payload", "bytes"),
        _text("codec", 16),
        _text("key_id", 64, nullable=True),
        # Its place in the order of commits, over all actors of the system.
        Column("place", "integer"),
        Column("recorded_at", "real"),
    ),
    (Index("kb_event_place", ("system_name", "place")),),
)
REQUEST = Table(
    "kb_request",
    (*_ACTOR_KEY, "request_id"),
    (
        *_ACTOR,
        _text("request_id", 128),
        Column("revision", "integer"),
        Column("reply", "bytes"),
        Column("expires_at", "real"),
    ),
    (Index("kb_request_expires", ("expires_at",)),),
)
# Messages that are to be delivered once, in the order of `seq` for each source and target.
OUTBOX = Table(
    "kb_outbox",
    ("system_name", "source", "seq"),
    (
        _SYSTEM,
        _text("source", 560),
        Column("seq", "integer"),
        _text("target_type", 128),
        _text("target_key", 255),
        _text("message", 128),
        Column("payload", "bytes"),
        _text("codec", 16),
        _text("key_id", 64, nullable=True),
        _text("state", 16),
        Column("not_before", "real"),
        Column("attempts", "integer"),
        Column("report", "long_text", nullable=True),
    ),
    (Index("kb_outbox_due", ("system_name", "state", "target_type", "not_before")),),
)
TIMER = Table(
    "kb_timer",
    (*_ACTOR_KEY, "timer_name"),
    (
        *_ACTOR,
        _text("timer_name", 128),
        Column("due_at", "real"),
        Column("rule_text", "long_text", nullable=True),
        _text("missed", 16),
        _text("message", 128),
        Column("payload", "bytes"),
        _text("codec", 16),
        _text("key_id", 64, nullable=True),
    ),
    (Index("kb_timer_due", ("system_name", "due_at")),),
)
TAG = Table(
    "kb_tag",
    ("system_name", "actor_type", "tag_name", "tag_value", "actor_key"),
    (
        _SYSTEM,
        _text("actor_type", 128),
        _text("tag_name", 64),
        _text("tag_value", 128),
        _text("actor_key", 255),
    ),
    (Index("kb_tag_actor", _ACTOR_KEY),),
)
SUBSCRIPTION = Table(
    "kb_subscription",
    ("system_name", "channel", "actor_type", "actor_key"),
    (
        _SYSTEM,
        _text("channel", 128),
        _text("actor_type", 128),
        _text("actor_key", 255),
        _text("message", 128),
    ),
)
# Numbers that rise in the order of commits, and how far somebody has read: one row each, by name.
COUNTER = Table(
    "kb_counter",
    ("system_name", "counter_name"),
    (_SYSTEM, _text("counter_name", 255), Column("amount", "integer")),
)
# What a saga has begun and done, in order; gone once it has ended.
JOURNAL = Table(
    "kb_journal",
    (*_ACTOR_KEY, "seq"),
    (*_ACTOR, Column("seq", "integer"), Column("payload", "bytes"), _text("key_id", 64, nullable=True)),
)
# A data key of one actor, itself encrypted: without it nothing of the actor can be read again.
DATA_KEY = Table(
    "kb_data_key",
    _ACTOR_KEY,
    (*_ACTOR, _text("key_id", 64), Column("wrapped", "bytes")),
)

# One task of a queue. `turn` and `due_at` mean what the state needs, so that one index serves all: of ready ones,
# which is next (the highest priority has the lowest turn); of later ones, when they become ready; of those that
# are done, their place in the order of commits where a queue keeps it, and when they may be forgotten.
TASK = Table(
    "kb_task",
    ("queue_name", "task_id"),
    (
        _text("queue_name", 128),
        _text("task_id", 255),
        _text("function_name", 255),
        Column("payload", "bytes"),
        _text("state", 16),
        Column("priority", "integer"),
        Column("turn", "integer"),
        Column("due_at", "real"),
        Column("attempts", "integer"),
        Column("interruptions", "integer"),
        _text("owner", 64, nullable=True),
        # Of the last claim; before the first one, of the put, which finds its own rows again by it.
        Column("token", "bytes", nullable=True),
        _text("batch_id", 255, nullable=True),
        _text("unique_key", 255, nullable=True),
        Column("result", "bytes", nullable=True),
        Column("report", "long_text", nullable=True),
        Column("put_at", "real"),
    ),
    (Index("kb_task_turn", ("queue_name", "state", "turn", "due_at")),),
)
# Tasks that belong together: how many have not ended, and what is put when none is left.
TASK_BATCH = Table(
    "kb_task_batch",
    ("queue_name", "batch_id"),
    (
        _text("queue_name", 128),
        _text("batch_id", 255),
        Column("total", "integer"),
        Column("pending", "integer"),
        Column("failed", "integer"),
        _text("function_name", 255, nullable=True),
        Column("payload", "bytes", nullable=True),
        Column("priority", "integer"),
        # When it may be forgotten, once none is pending.
        Column("expires_at", "real"),
    ),
    (Index("kb_task_batch_ended", ("queue_name", "pending", "expires_at")),),
)
# Keys of which one task may wait or run at a time.
TASK_UNIQUE = Table(
    "kb_task_unique",
    ("queue_name", "unique_key"),
    (_text("queue_name", 128), _text("unique_key", 255), _text("task_id", 255)),
)

# Each migration makes tables, once, in order. A released one is never changed.
MIGRATIONS: tuple[tuple[Table, ...], ...] = (
    (
        *(HOST, ACTOR, EVENT, REQUEST, OUTBOX, TIMER, TAG, SUBSCRIPTION, COUNTER, JOURNAL, DATA_KEY),
        *(TASK, TASK_BATCH, TASK_UNIQUE),
    ),
)
SCHEMA_VERSION = len(MIGRATIONS)
TABLES: dict[str, Table] = {table.name: table for tables in MIGRATIONS for table in tables}
