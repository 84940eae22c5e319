"""What every engine does with tables that are missing, older, newer, or somebody else's."""

from __future__ import annotations

import pytest

from koboshi.durable._failures import ForeignStore, WrongSchemaVersion
from koboshi.durable.stores import Session, Store, check_store, migrate_store
from koboshi.durable.stores._tables import MIGRATIONS, SCHEMA_VERSION, TABLES

from .groups import add
from .place import Place
from .rows import found


class SchemaContract:
    """The tables; a subclass has the fixture `place`."""

    async def prepared(self, place: Place, *statements: str) -> None:
        """A store that was open once, and was changed then."""

        def change(session: Session) -> None:
            for statement in statements:
                session.execute(statement, {})

        async with place.store() as store:
            await store.change(change)

    async def test_an_empty_database_gets_the_tables_once(self, place: Place) -> None:
        assert 0 == await migrate_store(place.url)
        assert SCHEMA_VERSION == await migrate_store(place.url)
        report = await check_store(place.url)

        assert report.usable
        assert dict.fromkeys(TABLES, 0) == report.counts
        async with place.store() as store:
            await store.run(add("one"))
            assert {"one": 0} == await store.read(found)

    async def test_a_look_says_what_is_missing_and_counts_rows(self, place: Place) -> None:
        await self.prepared(
            place,
            "INSERT INTO kb_counter (system_name, counter_name, amount) VALUES ('here', 'one', 1)",
            "DROP TABLE kb_tag",
            "ALTER TABLE kb_timer DROP COLUMN missed",
        )

        report = await check_store(place.url)

        assert ["column kb_timer.missed", "table kb_tag"] == sorted(report.missing)
        assert not report.usable
        assert 1 == report.counts["kb_counter"]
        assert SCHEMA_VERSION == report.version

    async def test_newer_tables_are_refused_and_left_alone(self, place: Place) -> None:
        await self.prepared(place, "INSERT INTO kb_schema (version) VALUES (99)")

        for refused in (Store(place.engine()).open(), migrate_store(place.url)):
            with pytest.raises(WrongSchemaVersion, match="version 99"):
                await refused
        assert 99 == (await check_store(place.url)).version

    async def test_older_tables_are_refused_until_they_are_brought_up_to_date(self, place: Place) -> None:
        if SCHEMA_VERSION == 1:
            pytest.skip("there is one version so far")
        drops = [f"DROP TABLE {table.name}" for table in MIGRATIONS[-1]]
        await self.prepared(place, *drops, f"DELETE FROM kb_schema WHERE version = {SCHEMA_VERSION}")

        with pytest.raises(WrongSchemaVersion, match="koboshi db migrate"):
            await Store(place.engine()).open()
        assert SCHEMA_VERSION - 1 == await migrate_store(place.url)
        async with place.store() as store:
            await store.run(add("one"))

    async def test_tables_of_our_names_that_are_not_ours_are_refused(self, place: Place) -> None:
        drops = [f"DROP TABLE {name}" for name in TABLES if name != "kb_host"]
        # The engine still needs its own row when it is closed.
        await self.prepared(place, *drops, "DROP TABLE kb_schema")

        for refused in (Store(place.engine()).open(), migrate_store(place.url), check_store(place.url)):
            with pytest.raises(ForeignStore, match="kb_host"):
                await refused
