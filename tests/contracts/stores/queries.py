"""What every engine understands: all queries that koboshi itself asks, wherever they are written."""

from __future__ import annotations

import importlib
import pkgutil
import re

import koboshi.durable
from koboshi.durable.stores import Select, Session

from .place import Place

__all__ = ["QueriesContract", "all_queries"]

_LIMIT = re.compile(r"LIMIT :(\w+)")


def all_queries() -> dict[str, Select]:
    """Each query that is a constant of a module below `koboshi.durable`."""
    found: dict[str, Select] = {}
    for module in pkgutil.walk_packages(koboshi.durable.__path__, "koboshi.durable."):  # type: ignore[attr-defined]
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Select):
                found[f"{module.name}.{name}"] = value
    return found


class QueriesContract:
    """Queries; a subclass has the fixture `place`."""

    async def test_every_query_of_koboshi_is_understood(self, place: Place) -> None:
        queries = all_queries()
        wrong: dict[str, Exception] = {}

        async with place.store() as store:
            for name, query in queries.items():
                limits = _LIMIT.findall(query.text)
                values = [1 if each in limits else None for each in query.names]

                def ask(session: Session, query: Select = query, values: list[int | None] = values) -> None:
                    if query.text.startswith("SELECT"):
                        session.fetch(query, *values)
                    else:
                        session.run(query, *values)

                try:
                    await store.change(ask)
                except Exception as error:
                    wrong[name] = error

        assert {} == wrong
        assert len(queries) > 1
