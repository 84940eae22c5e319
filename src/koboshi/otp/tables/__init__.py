"""Tables of rows by key, in memory and in files. See the guide."""

from __future__ import annotations

from ._catalogue import all_tables, named_table
from ._disk_table import DiskTable
from ._errors import (
    AccessDenied,
    KeyNotFound,
    NoSuchTable,
    NotATableFile,
    NotStorable,
    TableError,
    TableFileDamaged,
    TableFileError,
    TableFileInUse,
    TableMismatch,
    TableNameTaken,
    TableNotSaved,
)
from ._handle import TableHandle, table
from ._patterns import ANY, Var
from ._table import Table, TableInfo, TableStatistics, TableTransfer
from ._table_owner import TableOwner, TableOwnerStatistics, TableSpec

__all__ = [
    "ANY",
    "AccessDenied",
    "DiskTable",
    "KeyNotFound",
    "NoSuchTable",
    "NotATableFile",
    "NotStorable",
    "Table",
    "TableError",
    "TableFileDamaged",
    "TableFileError",
    "TableFileInUse",
    "TableHandle",
    "TableInfo",
    "TableMismatch",
    "TableNameTaken",
    "TableNotSaved",
    "TableOwner",
    "TableOwnerStatistics",
    "TableSpec",
    "TableStatistics",
    "TableTransfer",
    "Var",
    "all_tables",
    "named_table",
    "table",
]
