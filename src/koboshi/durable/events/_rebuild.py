"""Making a projection again from the first event, beside the old one, whose place it then takes.

The new one has tables and an offset of its own, so that the old one can be read and moves on meanwhile. When it has
caught up the old one stands still, and one transaction changes tables, offset and state.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..._kernel._errors import UsageError
from .._failures import Fenced
from ..actors._data_key import data_keys, made_keys
from ..actors._identity import Identity
from ..actors._numbers import state_number
from ..stores import Session
from ..stores._tables import ACTOR, COUNTER, DATA_KEY
from ._log import Offset, lock_places, read_log

if TYPE_CHECKING:
    from ..actors._definition import Definition
    from ._feed import Settings
    from ._handlers import Handlers

__all__ = ["LIVE", "NEW", "ShadowOffset", "Swap", "Turn", "create", "let_go", "make_tables", "new_names"]

#: The keys of a projection's actor, and of the one that is being made to take its place.
LIVE, NEW = "live", "new"
_COUNTER = ("system_name", "counter_name")
_KEY = ("system_name", "actor_type", "actor_key")
_ROW = ("revision", "state", "state_revision", "codec", "schema_version")


def new_names(tables: Mapping[str, str]) -> dict[str, str]:
    """What the tables are called while they are made."""
    return {name: f"{name}__new" for name in tables}


def create(session: Session, tables: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Make those tables that are missing."""
    for name, columns in tables.items():
        session.execute(f"CREATE TABLE IF NOT EXISTS {names[name]} ({columns})", {})


def make_tables(session: Session, tables: Mapping[str, str], definition: Definition, offset: Offset) -> None:
    """Begin: empty new tables, an offset before the first event, no state."""
    names = new_names(tables)
    for name in names.values():
        session.execute(f"DROP TABLE IF EXISTS {name}", {})
    create(session, tables, names)
    offset.set(session, 0)
    for table in (ACTOR, DATA_KEY):
        session.delete(table, _KEY, [(definition.system, definition.type, NEW)])


def let_go(session: Session, definition: Definition, host: str) -> None:
    """Have any program take the actor that is being made, if this host holds it."""
    who = (definition.system, definition.type, NEW)
    session.update(ACTOR, (*_KEY, "owner"), ("owner", "token"), [(*who, host, None, None)])


class Turn:
    """Which rebuild of a projection it is: the one that was begun last is the one that counts.

    Nothing is held meanwhile, so a program that dies in its rebuild is in nobody's way.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = settings.name
        self._row = (settings.system, f"projection/{settings.name}/rebuild")
        self._number = secrets.randbits(62)

    def take(self, session: Session) -> None:
        """Begin."""
        session.upsert(COUNTER, (*_COUNTER, "amount"), [(*self._row, self._number)])

    def is_current(self, session: Session) -> bool:
        """Whether no other one has begun since."""
        return session.lookup(COUNTER, ("amount",), _COUNTER, [self._row]) == [(self._number,)]

    def check(self, session: Session) -> None:
        """Raise `UsageError` if another one has begun since."""
        if not self.is_current(session):
            raise UsageError(
                f"another program has begun to make the projection {self._name} again, which takes the place of this "
                "rebuild; wait for that one, and begin another only if it fails"
            )

    def hold(self, session: Session) -> None:
        """The same, and have nobody begin another one until this transaction has ended."""
        session.update(
            COUNTER, (*_COUNTER, "amount"), ("amount",), [(*self._row, self._number, self._number)]
        )
        self.check(session)


class ShadowOffset(Offset):
    """The offset of a rebuild, which nobody moves any more whose turn is over."""

    def __init__(self, offset: Offset, turn: Turn) -> None:
        super().__init__(*offset.key)
        self._turn = turn

    def move(self, session: Session, since: int, place: int) -> bool:
        """See `Offset.move`."""
        return self._turn.is_current(session) and super().move(session, since, place)


class Swap:
    """The last transaction."""

    def __init__(
        self,
        settings: Settings,
        tables: Mapping[str, str],
        handlers: Handlers,
        definition: Definition,
        live: Offset,
        new: Offset,
        turn: Turn,
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._handlers = handlers
        self._definition = definition
        self._live = live
        self._new = new
        self._turn = turn

    def finish_tables(self, session: Session, most: int) -> bool:
        """Apply what is left of the log, with nobody committing more, and change the tables.

        Returns:
            False: more than `most` events are left, and nothing was changed.
        """
        system = self._settings.system
        self._turn.hold(session)
        lock_places(session, system)
        place = self._new.get(session)
        log = read_log(session, system, place, most + 1)
        if len(log.rows) > most:
            return False
        found = log.happened(self._settings.sources)
        self._handlers.change_tables(session, found, new_names(self._tables))
        self._change(session, int(log.rows[-1][0]) if log.rows else place)
        return True

    def finish(self, session: Session) -> None:
        """Change tables, offset and state."""
        self._turn.hold(session)
        self._change_state(session)
        self._change(session, self._new.get(session))

    def _change(self, session: Session, place: int) -> None:
        self._live.set(session, place)
        self._new.set(session, 0)
        for name, new in new_names(self._tables).items():
            session.execute(f"ALTER TABLE {name} RENAME TO {name}__old", {})
            session.execute(f"ALTER TABLE {new} RENAME TO {name}", {})
            session.execute(f"DROP TABLE {name}__old", {})

    def _change_state(self, session: Session) -> None:
        definition = self._definition
        live, new = (Identity(definition.system, definition.type, key) for key in (LIVE, NEW))
        made = session.lookup(ACTOR, _ROW, _KEY, [new])
        old = session.lookup(ACTOR, ("revision",), _KEY, [live])
        keys = data_keys(session, [live, new])
        for table in (ACTOR, DATA_KEY):
            session.delete(table, _KEY, [new])
        if not made or made[0][1] is None:
            # There was no event: as if the old one had never been.
            for table in (ACTOR, DATA_KEY):
                session.delete(table, _KEY, [live])
            return
        _, state, state_revision, codec, version = made[0]
        # Ahead of the old one, so that what still runs on the old state is refused.
        revision = (int(old[0][0]) if old else 0) + 1
        opener = definition.opener(new, keys.get(new))
        blob = opener.open(new, "state", state_number(state_revision, codec, version), bytes(state))
        if definition.ring is not None and live not in keys:
            keys |= made_keys(session, definition.ring, {live: (revision, None)})
        sealer = definition.opener(live, keys.get(live))
        sealed, key_id = sealer.seal(live, "state", state_number(revision, codec, version), blob)
        if not old:
            columns = (*_KEY, "epoch", *_ROW, "key_id", "updated_at")
            made_now = (*live, 0, revision, sealed, revision, codec, version, key_id, session.now)
            session.insert(ACTOR, columns, [made_now])
            return
        change = (*_ROW, "key_id", "owner", "token", "updated_at")
        row = (*live, revision, sealed, revision, codec, version, key_id, None, None, session.now)
        if not session.update(ACTOR, _KEY, change, [row]):
            raise Fenced(str(live))
