"""The SQL of every operation on every table can be read by a grammar of its server, and keeps its limits.

For SQL Server this is all that is tested, because none can be started. MySQL's differs from MariaDB's, which
is run, in one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sqlglot
from tests.contracts.stores.queries import all_queries

from koboshi.durable.stores import Select
from koboshi.durable.stores._sql_dialect import Dialect, Statement
from koboshi.durable.stores._sql_mysql import MySqlDialect
from koboshi.durable.stores._sql_postgres import CockroachDialect, PostgresDialect
from koboshi.durable.stores._sql_server import SqlServerDialect
from koboshi.durable.stores._tables import TABLES, Table

GRAMMARS: list[tuple[Dialect, str]] = [
    (PostgresDialect(), "postgres"),
    (CockroachDialect(), "postgres"),
    (SqlServerDialect(), "tsql"),
]
NAMES = ["postgres", "cockroach", "sqlserver"]
EXAMPLES = {"text": "x", "long_text": "x", "bytes": b"x", "integer": 1, "real": 1.0}


def rows(table: Table, columns: tuple[str, ...], count: int) -> list[tuple[object, ...]]:
    """Rows with keys of their own."""
    texts = {name: table.column(name).kind in ("text", "long_text") for name in columns}
    return [
        tuple(f"x{row}" if texts[name] else EXAMPLES[table.column(name).kind] for name in columns)
        for row in range(count)
    ]


def statements(dialect: Dialect, table: Table, count: int) -> Iterator[Statement]:
    """One of each operation."""
    columns = tuple(column.name for column in table.columns)
    rest = tuple(name for name in columns if name not in table.key) or columns[-1:]
    yield from dialect.insert(table, columns, rows(table, columns, count))
    yield from dialect.insert_new(table, columns, rows(table, columns, count))
    yield from dialect.upsert(table, columns, rows(table, columns, count))
    yield from dialect.update(table, table.key, rest, rows(table, (*table.key, *rest), count))
    yield from dialect.delete(table, table.key, rows(table, table.key, count))
    yield from dialect.lookup(table, columns, table.key, rows(table, table.key, count))


@pytest.mark.parametrize(("dialect", "grammar"), GRAMMARS, ids=NAMES)
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_the_sql_of_each_operation_can_be_read(dialect: Dialect, grammar: str, table: Table) -> None:
    done = [text for text, _ in statements(dialect, table, 2)]
    # The grammar has no word for that, and reads all the rest.
    done += [text.replace("PRIMARY KEY NONCLUSTERED", "PRIMARY KEY") for text in dialect.create(table)]
    done += [dialect.clock, dialect.catalogue, dialect.note_version(1), dialect.writes]
    for text in done:
        [read] = sqlglot.parse(text, dialect=grammar, error_level=sqlglot.ErrorLevel.RAISE)

        assert not isinstance(read, sqlglot.exp.Command), text


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_sql_server_gets_2100_values_and_1000_rows_at_most(table: Table) -> None:
    for text, values in statements(SqlServerDialect(), table, 3_000):
        assert text.count("?") == len(values) <= 2_100
        assert text.count("(?") + text.count("(CAST(?") <= 2_000


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_mysql_differs_from_mariadb_in_the_word_before_a_row(table: Table) -> None:
    mysql, mariadb = MySqlDialect(mariadb=False), MySqlDialect(mariadb=True)

    texts = [text for text, _ in statements(mysql, table, 2)]
    assert [text for text, _ in statements(mariadb, table, 2)] == [t.replace("ROW(", "(") for t in texts]
    assert mariadb.create(table) == [
        text.replace("utf8mb4_0900_bin", "utf8mb4_nopad_bin") for text in mysql.create(table)
    ]


def test_mysql_gets_statements_of_a_size_that_any_server_takes() -> None:
    table = TABLES["kb_outbox"]
    columns = tuple(column.name for column in table.columns)
    place = columns.index("payload")
    large = [(*row[:place], b"x" * 1_500_000, *row[place + 1 :]) for row in rows(table, columns, 7)]

    sizes = [
        sum(value == b"x" * 1_500_000 for value in values)
        for _, values in MySqlDialect(mariadb=True).insert(table, columns, large)
    ]

    assert [2, 2, 2, 1] == sizes


def test_a_limit_is_written_as_sql_server_has_it() -> None:
    text = "SELECT a FROM b WHERE c = :c ORDER BY a LIMIT :most"

    assert (
        "SELECT a FROM b WHERE c = :c ORDER BY a OFFSET 0 ROWS FETCH NEXT :most ROWS ONLY"
        == SqlServerDialect().text(text)
    )


def test_rows_are_taken_on_sql_server_with_hints_at_the_table() -> None:
    text = "SELECT a FROM kb_task WHERE c = :c ORDER BY a LIMIT :most"

    assert (
        "SELECT a FROM kb_task WITH (UPDLOCK, READPAST, ROWLOCK) WHERE c = :c ORDER BY a "
        "OFFSET 0 ROWS FETCH NEXT :most ROWS ONLY" == SqlServerDialect().taking(text)
    )


@pytest.mark.parametrize(("name", "query"), all_queries().items(), ids=list(all_queries()))
def test_sql_server_can_read_every_query_of_koboshi(name: str, query: Select) -> None:
    text = re.sub(r":[a-z_]+", "?", SqlServerDialect().text(query.text))

    [read] = sqlglot.parse(text, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)

    assert not isinstance(read, sqlglot.exp.Command)
    assert "LIMIT" not in text


def test_sql_server_refuses_keys_that_it_would_take_for_others() -> None:
    table = TABLES["kb_counter"]

    with pytest.raises(ValueError, match="ends with a space"):
        list(SqlServerDialect().lookup(table, ("amount",), table.key, [("here", "a "), ("here", "b")]))


@pytest.mark.parametrize(
    "dialect",
    [PostgresDialect(), SqlServerDialect(), MySqlDialect(mariadb=True)],
    ids=["postgres", "sqlserver", "mariadb"],
)
def test_no_statement_is_made_for_no_rows(dialect: Dialect) -> None:
    assert [] == list(statements(dialect, TABLES["kb_actor"], 0))
