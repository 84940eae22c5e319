"""What a table can be asked. Every method is one step: nothing else of the program runs in between."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Generator, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..._kernel._errors import UsageError, WrongThread
from ..._kernel._node import Node
from ..._supervision._options import is_whole
from ._errors import AccessDenied, KeyNotFound, NoSuchTable
from ._patterns import Where, bindings, check_pattern, is_open, test_of, variables
from ._stores import Access, Kind, Store

if TYPE_CHECKING:
    from ..._kernel._cell import Cell

R = TypeVar("R", bound=tuple[Any, ...])
T = TypeVar("T")


class _Missing:
    def __repr__(self) -> str:
        return "no default"


#: Stands for a default that was not given: None is a value.
MISSING: Any = _Missing()


class TableReads(Generic[R]):
    """The reading half of `Table`, and who may use it."""

    name: Any
    _node: Node
    _owner: Cell
    _access: Access
    _key: int
    _kind: Kind
    _gone: bool
    _store: Store

    # -- rights ------------------------------------------------------------------------------------

    def _must_exist(self, operation: str) -> None:
        if self._gone:
            raise NoSuchTable(self.name)
        if get_ident() != self._node.thread:
            raise self._wrong_thread(operation)

    def _may_read(self, operation: str) -> None:
        if self._gone:
            raise NoSuchTable(self.name)
        if get_ident() != self._node.thread:
            raise self._wrong_thread(operation)
        if self._access == "private" and self._node.current is not self._owner:
            raise self._denied(operation, self._access)

    def _may_write(self, operation: str) -> None:
        if self._gone:
            raise NoSuchTable(self.name)
        if get_ident() != self._node.thread:
            raise self._wrong_thread(operation)
        if self._access != "public" and self._node.current is not self._owner:
            raise self._denied(operation, self._access)

    def _wrong_thread(self, operation: str) -> WrongThread:
        return WrongThread(
            f"{operation} on the table {self.name!r} from another thread than its event loop's; "
            "use its handle there, or a message to its owner"
        )

    def _denied(self, operation: str, access: str) -> AccessDenied:
        current = self._node.current
        caller = "code outside of any process" if current is None else current.label()
        return AccessDenied(self.name, operation, access, self._owner.label(), caller)

    # -- by key ------------------------------------------------------------------------------------

    def lookup(self, key: Any) -> list[R]:
        """The rows of a key: none or one in sets, any number in bags, in the order of their inserts."""
        self._may_read("lookup")
        try:
            return self._store.rows_of(key)
        except TypeError:
            raise _not_hashable(key) from None

    def lookup_element(self, key: Any, place: int, default: Any = MISSING) -> Any:
        """One element of the row of a key; in bags a list of that element of each row.

        Raises:
            KeyNotFound: there is no such row and no default was given.
            UsageError: the row has no such place.
        """
        rows = self.lookup(key)
        if not rows:
            if default is MISSING:
                raise KeyNotFound(self.name, key)
            return default
        if not (is_whole(place, 0) and all(place < len(row) for row in rows)):
            raise UsageError(
                f"the rows of {key!r} have places from 0 on, and {place!r} is not in all of them"
            )
        return rows[0][place] if self._store.single else [row[place] for row in rows]

    def member(self, key: Any) -> bool:
        """Whether there is a row of this key; the same as `key in table`."""
        self._may_read("member")
        try:
            return key in self._store.entries
        except TypeError:
            raise _not_hashable(key) from None

    def __contains__(self, key: Any) -> bool:
        return self.member(key)

    # -- by what is in the rows --------------------------------------------------------------------

    def match(self, pattern: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """For each row that matches, the values of the variables, in the order in which they first stand."""
        self._may_read("match")
        names = variables(check_pattern(pattern, self._key))
        found: list[tuple[Any, ...]] = []
        for row in self._candidates(pattern):
            bound: dict[str, Any] = {}
            if bindings(pattern, row, bound):
                found.append(tuple(bound[name] for name in names))
        return found

    @overload
    def select(self, where: Where[R] = None, *, limit: int | None = None) -> list[R]: ...
    @overload
    def select(self, where: Where[R], result: Callable[[R], T], *, limit: int | None = None) -> list[T]: ...
    def select(
        self, where: Where[R] = None, result: Callable[[R], Any] | None = None, *, limit: int | None = None
    ) -> list[Any]:
        """The rows that are meant, or `result(row)` of each.

        Args:
            where: a pattern, a function that tells of a row, or None for all. The functions are called
                while the table stands still, and must not change it.
            limit: how many at most, the first in the table's order; None, the default, is all.
        """
        self._may_read("select")
        found: list[Any] = []
        most = self._most(limit)
        if most == 0:
            return found
        meant = test_of(where, self._key)
        for row in self._candidates(where):
            if meant(row):
                found.append(row if result is None else result(row))
                if len(found) == most:
                    break
        return found

    def select_count(self, where: Where[R] = None) -> int:
        """How many rows are meant."""
        self._may_read("select_count")
        meant = test_of(where, self._key)
        return sum(1 for row in self._candidates(where) if meant(row))

    def _most(self, limit: int | None) -> int:
        if limit is None:
            return -1
        if not is_whole(limit, 0):
            raise UsageError(f"limit takes a whole number >= 0 or None, got {limit!r}")
        return limit

    def _candidates(self, where: Any) -> list[Any]:
        """The rows that may be meant: those of one key when a pattern names it."""
        if isinstance(where, tuple):
            key: Any = check_pattern(where, self._key)[self._key]
            if not is_open(key):
                try:
                    return self._store.rows_of(key)
                except TypeError:
                    return []  # it cannot be hashed, so it is nobody's key
        return self._store.rows()

    # -- all of it ---------------------------------------------------------------------------------

    def rows(self) -> list[R]:
        """All rows, as they are now; by key in an ordered_set."""
        self._may_read("rows")
        return self._store.rows()

    def keys(self) -> list[Any]:
        """All keys, as they are now; in order in an ordered_set."""
        self._may_read("keys")
        return self._store.keys()

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows())

    def __len__(self) -> int:
        self._may_read("len")
        return self._store.size

    def __bool__(self) -> bool:
        """Always true: whether it is empty is `len(table) == 0`."""
        return True

    def range(self, low: Any, high: Any) -> list[R]:
        """The rows of an ordered_set from the key `low` on and below the key `high`, in order."""
        self._may_read("range")
        self._only("range", "ordered_set")
        with _comparing(low, high):
            return [self._store.entries[key] for key in self._store.order.between(low, high)]

    def foldl(self, fn: Callable[[T, R], T], initial: T) -> T:
        """`fn(fn(initial, row), row) ...` over all rows, in the table's order."""
        self._may_read("foldl")
        return functools.reduce(fn, self._store.rows(), initial)

    def foldr(self, fn: Callable[[T, R], T], initial: T) -> T:
        """The same against the table's order."""
        self._may_read("foldr")
        return functools.reduce(fn, reversed(self._store.rows()), initial)

    # -- key by key --------------------------------------------------------------------------------

    def first(self, default: Any = None) -> Any:
        """The first key, the smallest in an ordered_set; `default` when the table is empty."""
        self._may_read("first")
        return _or(self._store.order.first(), default)

    def last(self, default: Any = None) -> Any:
        """The last key; `default` when the table is empty."""
        self._may_read("last")
        return _or(self._store.order.last(), default)

    def next(self, key: Any, default: Any = None) -> Any:
        """The key behind `key`; `default` at the end.

        In an ordered_set `key` need not be there (any more). In other kinds it must, or have been there when
        the table was `fixed`; else `KeyNotFound` is raised.
        """
        self._may_read("next")
        return self._step(self._store.order.after, key, default)

    def prev(self, key: Any, default: Any = None) -> Any:
        """The key before `key`; `default` at the beginning. Otherwise as `next`."""
        self._may_read("prev")
        return self._step(self._store.order.before, key, default)

    def _step(self, way: Callable[[Any], list[Any]], key: Any, default: Any) -> Any:
        with _comparing(key):
            try:
                return _or(way(key), default)
            except KeyError:
                raise KeyNotFound(self.name, key) from None

    @contextlib.contextmanager
    def fixed(self) -> Generator[None]:
        """`with table.fixed():` a walk with `next` meets every row that is there all the time exactly once.

        Rows may be deleted and inserted meanwhile; whether one that comes is met is not said. For an
        ordered_set it is not needed.
        """
        self._may_read("fixed")
        order = self._store.order
        if not self._store.ordered:
            order.first()  # lists the keys, so that one that goes before the walk begins has a place, too
        order.fixed += 1
        try:
            yield
        finally:
            order.release()

    def _only(self, operation: str, *kinds: str) -> None:
        if self._kind not in kinds:
            raise UsageError(
                f"{operation} is for tables of the kind {' or '.join(kinds)}, "
                f"and {self.name!r} is a {self._kind}"
            )


def _or(found: list[Any], default: Any) -> Any:
    return found[0] if found else default


def _not_hashable(key: Any) -> UsageError:
    return UsageError(f"a key must be hashable, such as a string, a number or a tuple of these; got {key!r}")


@contextlib.contextmanager
def _comparing(*keys: Any) -> Generator[None]:
    """Keys of the wrong type are the caller's mistake."""
    try:
        yield
    except TypeError as error:
        raise UsageError(f"{keys!r} cannot be compared with the keys of this table: {error}") from error
