"""What can go wrong with a table, by who is to blame for it."""

from __future__ import annotations

from ..._kernel._errors import KoboshiError, UsageError


class TableError(KoboshiError):
    """Base of what a table refuses."""


class NoSuchTable(TableError, LookupError):
    """There is no such table: never made, deleted, or gone with its owner. `table` is its name."""

    def __init__(self, table: object) -> None:
        super().__init__(
            f"there is no table {table!r} here: it was never made, deleted, or has gone with its owner"
        )
        self.table = table


class TableNameTaken(TableError):
    """A named table of this event loop has the name already."""

    def __init__(self, name: object, owner: str) -> None:
        super().__init__(
            f"the table name {name!r} is taken, by a table of {owner}; delete that one, or rename it"
        )
        self.name = name
        self.owner = owner


class AccessDenied(TableError):
    """The table's access does not allow this to the process that asked for it.

    Attributes:
        table: the table's name.
        operation: what was asked for.
        access: the table's access, or "owner" for what its owner alone may do.
    """

    def __init__(self, table: object, operation: str, access: str, owner: str, caller: str) -> None:
        what = {
            "private": "is private: only its owner may use it",
            "protected": "is protected: everybody reads and only its owner writes",
            "owner": "takes this from its owner only",
        }[access]
        hint = "" if access == "owner" else ', or make it with access="public"'
        super().__init__(
            f"{operation} by {caller} was refused: the table {table!r} {what}; send a message to its owner "
            f"{owner}{hint}"
        )
        self.table = table
        self.operation = operation
        self.access = access


class KeyNotFound(TableError, LookupError):
    """The table has no row of this key. `key` is it."""

    def __init__(self, table: object, key: object) -> None:
        super().__init__(f"the table {table!r} has no row with the key {key!r}")
        self.table = table
        self.key = key


class NotStorable(TableError, TypeError):
    """A disk table was given a value that its file cannot hold. `value` is how it prints."""

    def __init__(self, value: str) -> None:
        super().__init__(
            f"a disk table stores None, bool, int, float, str, bytes, and tuples, lists and dicts of these; "
            f"got {value}"
        )
        self.value = value


class TableFileError(TableError):
    """Base of what is wrong with the file of a disk table. `path` is it, `found` what was found."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(f"the table file {path!r} cannot be used: {found}")
        self.path = path
        self.found = found


class NotATableFile(TableFileError):
    """The file is something else, and was not changed."""


class TableFileDamaged(TableFileError):
    """The file is a table's and cannot be read."""


class TableFileInUse(TableFileError):
    """Somebody has the file open: a table file has one opener at a time."""


class TableMismatch(TableFileError, UsageError):
    """The file was made with another kind or key position than it is opened with."""


class TableNotSaved(TableFileError):
    """Changes could not be written to the file; they are in memory still, and `sync` tries again."""
