"""Patterns and predicates: what they find, change and delete."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from tests.otp.tables.conftest import Make
from tests.otp.tables.rig import KINDS

import koboshi as kb
from koboshi import otp
from koboshi.otp import ANY, Var

ROWS = [("ada", "paid", 10), ("bob", "open", 20), ("cyd", "paid", 30)]


async def test_match_gives_the_values_of_variables_in_the_order_of_their_places(public: Make) -> None:
    table = await public()
    table.insert(*ROWS)

    assert [("ada", 10), ("cyd", 30)] == table.match((Var("who"), "paid", Var("sum")))
    assert [("open",)] == table.match(("bob", Var("state"), ANY))
    assert [()] == table.match(("bob", ANY, ANY))
    assert [] == table.match(("bob", ANY))


async def test_a_variable_that_stands_twice_must_be_the_same_twice(public: Make) -> None:
    table = await public()
    table.insert((1, 1, "a"), (1 + 1, 3, "b"), (4, 4, "c"))

    assert [(1, "a"), (4, "c")] == table.match((Var("x"), Var("x"), Var("y")))


async def test_tuples_in_rows_are_matched_element_by_element(public: Make) -> None:
    table = await public()
    table.insert((("room", 1), (1, 2)), (("room", 2), (3, 4)), (("hall", 1), "none"), ("room", (5, 6)))

    assert [(1, 2), (2, 4)] == table.match((("room", Var("n")), (ANY, Var("second"))))


async def test_a_pattern_with_its_key_does_not_look_at_other_rows(public: Make) -> None:
    class Loud:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("was looked at")

        __hash__ = None  # type: ignore[assignment]

    table = await public()
    table.insert(("a", 1), ("b", Loud()))

    assert [("a", 1)] == table.select(("a", 1))
    assert [] == table.select((["unhashable"], 1))


@pytest.mark.parametrize("kind", KINDS)
async def test_select_takes_a_pattern_a_function_or_nothing(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*ROWS)

    assert [ROWS[0], ROWS[2]] == table.select((ANY, "paid", ANY))
    assert ROWS[1:] == table.select(lambda row: row[2] > 10)
    assert ROWS == table.select()
    assert ["ADA", "CYD"] == table.select((ANY, "paid", ANY), lambda row: row[0].upper())
    assert ROWS[:2] == table.select(limit=2)
    assert [] == table.select(limit=0)
    assert 2 == table.select_count((ANY, "paid", ANY))


@pytest.mark.parametrize("bad", [-1, True, "2", 1.5])
async def test_a_limit_is_a_whole_number(public: Make, bad: Any) -> None:
    table = await public()
    with pytest.raises(kb.UsageError, match="limit"):
        table.select(limit=bad)


@pytest.mark.parametrize("bad", [5, "ada", ()])
async def test_what_is_neither_pattern_nor_function_is_refused(public: Make, bad: Any) -> None:
    table = await public()
    with pytest.raises(kb.UsageError, match="pattern"):
        table.select(bad)


@pytest.mark.parametrize("kind", KINDS)
async def test_select_delete_takes_out_what_is_meant_and_counts_it(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*ROWS)

    assert 2 == table.select_delete((ANY, "paid", ANY))
    assert [ROWS[1]] == table.rows()
    assert 1 == len(table)
    assert 1 == table.select_delete()


async def test_select_delete_keeps_the_other_rows_of_a_key_in_a_bag(public: Make) -> None:
    table = await public(kind="duplicate_bag")
    table.insert(("a", 1), ("a", 2), ("a", 1), ("a", 3), ("b", 1))

    assert 2 == table.select_delete(("a", 1))
    assert [("a", 2), ("a", 3), ("b", 1)] == table.rows()
    assert 1 == table.select_delete(lambda row: row[1] == 3)
    assert [("a", 2), ("b", 1)] == table.rows()
    assert 2 == len(table)


@pytest.mark.parametrize("kind", ["set", "ordered_set", "duplicate_bag"])
async def test_select_replace_changes_rows_in_their_places(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*ROWS)

    assert 2 == table.select_replace((ANY, "paid", ANY), lambda row: (row[0], "done", row[2]))
    assert [("ada", "done", 10), ROWS[1], ("cyd", "done", 30)] == table.rows()
    with pytest.raises(kb.UsageError, match="keep the key"):
        table.select_replace(None, lambda row: (row[0], "x") if row[0] != "cyd" else ("eve", "x"))
    assert [("ada", "done", 10), ROWS[1], ("cyd", "done", 30)] == table.rows()


async def test_select_replace_is_not_for_bags(public: Make) -> None:
    table = await public(kind="bag")
    with pytest.raises(kb.UsageError, match="select_replace is for"):
        table.select_replace(None, lambda row: row)


async def test_a_function_that_fails_changes_nothing(public: Make) -> None:
    table = await public()
    table.insert(("a", 1), ("b", 0))
    with pytest.raises(ZeroDivisionError):
        table.select_delete(lambda row: 1 / row[1])
    with pytest.raises(ZeroDivisionError):
        table.select_replace(None, lambda row: (row[0], 1 / row[1]))

    assert [("a", 1), ("b", 0)] == table.rows()


async def test_folds_go_with_the_order_and_against_it(public: Make) -> None:
    table = await public(kind="ordered_set")
    table.insert((2, "b"), (1, "a"), (3, "c"))

    assert "abc" == table.foldl(lambda text, row: text + row[1], "")
    assert "cba" == table.foldr(lambda text, row: text + row[1], "")


def test_patterns_pickle_and_print() -> None:
    pattern = (ANY, Var("x"), 1)
    copy = pickle.loads(pickle.dumps(pattern))

    assert copy == pattern
    assert copy[0] is otp.ANY
    assert "(otp.ANY, otp.Var('x'), 1)" == repr(pattern)
