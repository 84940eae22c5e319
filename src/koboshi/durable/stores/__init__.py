"""Where durable work is kept: one seam, several databases, group commit over all of them."""

from ._engine import Engine
from ._maintenance import check_store, migrate_store
from ._open import StoreURL, StoreUse, check_url, engine_of
from ._operation import Change, Operation, Outcome, Query
from ._report import StoreReport
from ._session import Row, Select, Session
from ._sqlite_engine import MemoryEngine, SqliteEngine
from ._store import LEASE, Store, StoreStatistics

__all__ = [
    "LEASE",
    "Change",
    "Engine",
    "MemoryEngine",
    "Operation",
    "Outcome",
    "Query",
    "Row",
    "Select",
    "Session",
    "SqliteEngine",
    "Store",
    "StoreReport",
    "StoreStatistics",
    "StoreURL",
    "StoreUse",
    "check_store",
    "check_url",
    "engine_of",
    "migrate_store",
]
