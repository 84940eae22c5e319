"""`Table`: rows by key in memory, used directly by all code of one event loop. After ETS.

A table belongs to a process and goes with it: it is deleted, or given to its heir, before anybody hears of
the owner's end. Rows are shared and not copied, so put into them what does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, TypeVar

from ..._kernel._bonds import hold, let_go
from ..._kernel._cell import DEAD, REMOTE, Cell
from ..._kernel._errors import ActorExited, UsageError
from ..._kernel._process import current_cell
from ..._kernel._reasons import NOPROC
from ..._kernel._ref import ActorRef
from ..._supervision._options import hashed, is_whole
from ._catalogue import catalogue_of
from ._stores import ACCESSES, KINDS, Access, Kind, new_store
from ._writing import TableWrites

if TYPE_CHECKING:
    from ._handle import TableHandle

R = TypeVar("R", bound=tuple[Any, ...])


@dataclass(frozen=True, slots=True)
class TableTransfer:
    """The message by which a process becomes the owner of a table: it was given away, or inherited.

    Attributes:
        table: it; the receiver owns it already.
        giver: who owned it before.
        data: what was said with `give_away`, or when the heir was named.
    """

    table: Table[Any]
    giver: ActorRef[Any]
    data: Any


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What a table is. `key` is the key's place in the rows, `rows` how many there are now."""

    name: Any
    kind: Kind
    access: Access
    key: int
    named: bool
    rows: int
    owner: ActorRef[Any]
    heir: ActorRef[Any] | None


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """A table's figures at one moment.

    Attributes:
        rows, keys: how many there are.
        fixed: how many walks hold it fixed.
        unsaved: keys whose changes are not in its file yet; 0 for tables in memory.
        saves: how often changes were written to its file.
    """

    rows: int
    keys: int
    fixed: int
    unsaved: int = 0
    saves: int = 0


class Table(TableWrites[R]):
    """Rows by key: `hits = otp.Table[tuple[str, int]]("hits", access="public")`.

    The current process owns it. Methods are plain ones, for code on its event loop; `handle` is its face for
    other nodes. `1`, `1.0` and `True` are one key.

    Args:
        name: what it is called, in errors and by `named`.
        kind: "set" (default): one row of a key. "ordered_set": the same, in the order of the keys. "bag":
            rows of one key that differ. "duplicate_bag": any rows of one key.
        access: "protected" (default): the owner writes and everybody reads. "private": the owner only.
            "public": everybody does both.
        key: the key's place in the rows, 0 by default.
        named: whether `otp.named_table(name)` finds it. Such names are a loop's own and unique.
        heir: who owns it after the owner's end, and gets a `TableTransfer` with `heir_data`.

    Raises:
        NotInProcess: no process runs here that could own it; `otp.TableOwner` can.
        TableNameTaken: there is another table of this name.
        UsageError: an option has no such value.
    """

    def __init__(
        self,
        name: Any,
        *,
        kind: Kind = "set",
        access: Access = "protected",
        key: int = 0,
        named: bool = False,
        heir: ActorRef[Any] | None = None,
        heir_data: Any = None,
    ) -> None:
        check_options(name, kind, access, key, named)
        self._gone = True  # until all of it is there
        self._owner = current_cell("a table")
        self._node = self._owner.node
        self.name = name
        self._kind = kind
        self._access = access
        self._key = key
        self._named = named
        self._heir, self._heir_data = self._checked_heir(heir), heir_data
        self._journal = None
        self._store = new_store(kind)
        self.number = self._catalogue.add(self, name, named=named)
        hold(self._owner, self)
        self._gone = False

    @property
    def _catalogue(self) -> Any:
        return catalogue_of(self._node)

    # -- whose it is -------------------------------------------------------------------------------

    @property
    def owner(self) -> ActorRef[Any]:
        """The process that it belongs to."""
        return ActorRef(self._owner)

    @property
    def owner_label(self) -> str:
        """How its owner prints."""
        return self._owner.label()

    @property
    def exists(self) -> bool:
        """Whether it is there: neither dropped nor gone with its owner."""
        return not self._gone

    def give_away(self, to: ActorRef[Any], data: Any = None) -> None:
        """Make another process of this loop the owner; it gets a `TableTransfer`. For the owner only.

        Raises:
            ActorExited: nobody is there (`NoProc`).
            UsageError: it lives on another node, or owns the table already.
        """
        self._owner_only("give_away")
        cell = self._checked_process("give_away", to)
        if cell.state == DEAD:
            raise ActorExited(repr(to), "give_away", NOPROC, maybe_executed=False)
        if cell is self._owner:
            raise UsageError(f"the table {self.name!r} belongs to {cell.label()} already")
        let_go(self._owner, self)
        self._hand_over(cell, data)

    def set_heir(self, heir: ActorRef[Any] | None, data: Any = None) -> None:
        """Name who is to own it after the owner's end, or nobody. For the owner only."""
        self._owner_only("set_heir")
        self._heir, self._heir_data = self._checked_heir(heir), data

    def rename(self, name: Any) -> None:
        """Give it another name, by which a named table is found then. Needs the right to write.

        Raises:
            TableNameTaken: a named table has the name.
        """
        self._may_write("rename")
        check_name(name)
        if self._named:
            self._catalogue.take_name(self, name)
            if name != self.name:
                del self._catalogue.names[self.name]
        self.name = name

    def drop(self) -> None:
        """Delete the table. Needs the right to write."""
        self._may_write("drop")
        let_go(self._owner, self)
        self._vanish()

    async def sync(self) -> None:
        """Wait until changes are on the disk, if the table has one. Everybody may."""
        self._must_exist("sync")

    def owner_ended(self, cell: Cell) -> None:
        """Its owner has ended, and nobody knows: go to the heir, or go."""
        heir = None if self._heir is None else self._heir._target()
        if heir is None or heir is cell or heir.state in (DEAD, REMOTE) or heir.node is not self._node:
            self._vanish()
        else:
            self._hand_over(heir, self._heir_data)

    def _hand_over(self, to: Cell, data: Any) -> None:
        giver: ActorRef[Any] = ActorRef(self._owner)
        self._owner = to
        hold(to, self)
        to.post((to.info.on_info, TableTransfer(self, giver, data), None, copy_context(), None))

    def _vanish(self) -> None:
        self._gone = True
        self._catalogue.remove(self)
        self._store = new_store(self._kind)

    def _owner_only(self, operation: str) -> None:
        self._may_read(operation)
        if self._node.current is not self._owner:
            raise self._denied(operation, "owner")

    def _checked_process(self, operation: str, ref: Any) -> Cell:
        if not _is_ref(ref):
            raise UsageError(f"{operation} takes the ref of a process, got {ref!r}")
        cell = ref._target()
        if cell.state == REMOTE or cell.node is not self._node:
            raise UsageError(
                f"{operation} takes a process of the table's own event loop, and {ref!r} is elsewhere"
            )
        return cell

    def _checked_heir(self, heir: Any) -> ActorRef[Any] | None:
        if heir is not None:
            self._checked_process("heir", heir)
        checked: ActorRef[Any] | None = heir
        return checked

    # -- looking -----------------------------------------------------------------------------------

    def info(self) -> TableInfo:
        """What the table is. Everybody may ask."""
        return TableInfo(
            self.name,
            self._kind,
            self._access,
            self._key,
            self._named,
            self._store.size,
            self.owner,
            self._heir,
        )

    def statistics(self) -> TableStatistics:
        """Figures at this moment. Everybody may ask."""
        return TableStatistics(self._store.size, len(self._store.entries), self._store.order.fixed)

    @property
    def handle(self) -> TableHandle[R]:
        """The table's face for all nodes: it pickles, its methods are `async` and the same as these."""
        from ._handle import handle_of

        return handle_of(self)

    def __reduce__(self) -> NoReturn:
        raise UsageError(f"the table {self.name!r} stays on its event loop; send its handle: `table.handle`")

    def __repr__(self) -> str:
        if self._gone:
            return f"<{type(self).__name__} {self.name!r} gone>"
        return (
            f"<{type(self).__name__} {self.name!r} {self._kind} {self._access}, {self._store.size} rows, "
            f"of {self._owner.label()}>"
        )

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[R]: ...


def _is_ref(value: object) -> TypeGuard[ActorRef[Any]]:
    return isinstance(value, ActorRef)


def check_options(name: Any, kind: Any, access: Any, key: Any, named: Any) -> None:
    """Raise `UsageError` for an option of a table that has no such value."""
    check_name(name)
    for option, value, allowed in (("kind", kind, KINDS), ("access", access, ACCESSES)):
        if not isinstance(value, str) or value not in allowed:
            raise UsageError(f"{option} is one of {', '.join(map(repr, allowed))}, got {value!r}")
    if not is_whole(key, 0):
        raise UsageError(f"key is the key's place in the rows, a whole number >= 0, got {key!r}")
    if not isinstance(named, bool):
        raise UsageError(f"named is True or False, got {named!r}")


def check_name(name: Any) -> None:
    """Raise `UsageError` for what cannot be a name."""
    hashed("a table's name", name)
