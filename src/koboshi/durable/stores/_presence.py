"""How hosts of one server see that another is gone before its lease ends: each holds a lock by its connection.

A killed program's connection ends with it, and the server gives the lock back at once. That a lock is absent
proves nothing: the connection may have broken, and its host may go on. It need not, since a host that others
take for lost does no harm: the fence refuses what it writes to an actor that was claimed meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from ._sql_dialect import Dialect

__all__ = ["absent", "hold"]


def hold(connection: sa.Connection, dialect: Dialect, incarnation: str) -> None:
    """Show others that this host is there, for as long as the connection lasts."""
    statement = dialect.hold(incarnation)
    if statement is not None:
        connection.exec_driver_sql(*statement)
        connection.commit()


def absent(
    connection: sa.Connection, dialect: Dialect, hosts: Sequence[tuple[str, str]], settled: float
) -> list[str]:
    """Which of these hosts (id, incarnation) have no connection.

    Args:
        settled: seconds that a server has to be up before anybody counts as absent: after its start its
            clients need a moment to come back.
    """
    statement = dialect.held([incarnation for _, incarnation in hosts], settled)
    if statement is None:
        return []
    present = {row[0] for row in connection.exec_driver_sql(*statement)}
    connection.rollback()
    return [host for host, incarnation in hosts if incarnation not in present]
