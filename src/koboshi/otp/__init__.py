"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from ._ring import Ring, RingStatistics
from .tables import (
    ANY,
    AccessDenied,
    DiskTable,
    KeyNotFound,
    NoSuchTable,
    NotATableFile,
    NotStorable,
    Table,
    TableError,
    TableFileDamaged,
    TableFileError,
    TableFileInUse,
    TableHandle,
    TableInfo,
    TableMismatch,
    TableNameTaken,
    TableNotSaved,
    TableOwner,
    TableOwnerStatistics,
    TableSpec,
    TableStatistics,
    TableTransfer,
    Var,
    all_tables,
    named_table,
    table,
)

__all__ = [
    "ANY",
    "AccessDenied",
    "DiskTable",
    "KeyNotFound",
    "NoSuchTable",
    "NotATableFile",
    "NotStorable",
    "Ring",
    "RingStatistics",
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

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.otp."):
        globals()[_name].__module__ = "koboshi.otp"
