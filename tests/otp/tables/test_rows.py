"""Rows by key: what each kind keeps, and that an operation is done in one step or not at all."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest
from tests.otp.tables.conftest import Make
from tests.otp.tables.rig import KINDS

import koboshi as kb
from koboshi import otp

Point = namedtuple("Point", "name x y")


async def test_a_set_keeps_the_last_row_of_a_key(public: Make) -> None:
    table = await public()
    table.insert(("a", 1), ("b", 2))
    table.insert(("a", 3))

    assert [("a", 3)] == table.lookup("a")
    assert [] == table.lookup("c")
    assert 2 == len(table)


async def test_a_bag_keeps_rows_that_differ_in_the_order_of_their_inserts(public: Make) -> None:
    table = await public(kind="bag")
    table.insert(("a", 2), ("a", 1), ("a", 2), ("b", 0))

    assert [("a", 2), ("a", 1)] == table.lookup("a")
    assert 3 == len(table)


async def test_a_duplicate_bag_keeps_every_row(public: Make) -> None:
    table = await public(kind="duplicate_bag")
    table.insert(("a", 2), ("a", 2))
    table.insert(("a", 2))

    assert 3 == len(table.lookup("a")) == len(table)


async def test_the_key_may_be_at_any_place(public: Make) -> None:
    table = await public(key=2)
    table.insert((1, 2, "k"))

    assert [(1, 2, "k")] == table.lookup("k")
    with pytest.raises(kb.UsageError, match="place 2"):
        table.insert((1, 2))


@pytest.mark.parametrize("kind", KINDS)
async def test_one_and_one_point_nought_are_one_key_in_all_kinds(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert((1, "a"))

    assert [(1, "a")] == table.lookup(1.0) == table.lookup(True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [7, ["k"], (), ([], 1)])
async def test_an_insert_of_many_rows_with_a_bad_one_inserts_none(public: Make, kind: str, bad: Any) -> None:
    table = await public(kind=kind)
    with pytest.raises(kb.UsageError):
        table.insert(("a", 1), bad)

    assert [] == table.rows()


async def test_keys_of_an_ordered_set_that_have_no_order_are_refused_and_change_nothing(public: Make) -> None:
    table = await public(kind="ordered_set")
    table.insert((1, "x"), (2, "y"))
    for bad in [(("s", 0),), ((0, 0), ("s", 0)), ((float("nan"), 0),)]:
        with pytest.raises(kb.UsageError, match="one order"):
            table.insert(*bad)

    assert [(1, "x"), (2, "y")] == table.rows()
    assert [1, 2] == table.keys()


async def test_insert_new_inserts_all_rows_or_none(public: Make) -> None:
    table = await public()
    table.insert(("b", 0))

    assert table.insert_new(("a", 1), ("c", 1)) is True
    assert table.insert_new(("d", 1), ("b", 1)) is False
    assert [("b", 0), ("a", 1), ("c", 1)] == table.rows()


async def test_insert_new_of_rows_with_one_key_is_no_conflict_with_itself(public: Make) -> None:
    one, many = await public("one"), await public("many", kind="bag")

    assert one.insert_new(("a", 1), ("a", 2))
    assert many.insert_new(("a", 1), ("a", 2))
    assert [("a", 2)] == one.lookup("a")
    assert [("a", 1), ("a", 2)] == many.lookup("a")
    assert many.insert_new(("a", 3)) is False


@pytest.mark.parametrize("kind", KINDS)
async def test_take_returns_what_it_takes_out(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(("a", 1), ("b", 2))

    assert [("a", 1)] == table.take("a")
    assert [] == table.take("a")
    assert (False, True) == (table.delete("a"), table.delete("b"))
    assert 0 == len(table)
    assert "a" not in table


async def test_delete_object_takes_out_equal_rows_only(public: Make) -> None:
    bag = await public(kind="duplicate_bag")
    bag.insert(("a", 1), ("a", 2), ("a", 1))

    assert 2 == bag.delete_object(("a", 1))
    assert 0 == bag.delete_object(("b", 1))
    assert [("a", 2)] == bag.rows()


async def test_lookup_element_gives_one_element_or_a_list_of_them(public: Make) -> None:
    one, many = await public("one"), await public("many", kind="bag")
    one.insert(("a", 1, "x"))
    many.insert(("a", 1), ("a", 2))

    assert "x" == one.lookup_element("a", 2)
    assert [1, 2] == many.lookup_element("a", 1)
    assert 9 == one.lookup_element("z", 1, 9)
    assert one.lookup_element("z", 1, None) is None
    with pytest.raises(otp.KeyNotFound) as raised:
        one.lookup_element("z", 1)
    assert "z" == raised.value.key
    with pytest.raises(kb.UsageError):
        one.lookup_element("a", 3)


async def test_counters_move_by_place_threshold_and_list(public: Make) -> None:
    table = await public()
    table.insert(("a", 1, 10))

    assert 2 == table.update_counter("a")
    assert 5 == table.update_counter("a", 3)
    assert 7 == table.update_counter("a", (2, -3))
    assert [6, 8] == table.update_counter("a", [(1, 1), (2, 1)])
    assert [("a", 6, 8)] == table.rows()


@pytest.mark.parametrize(
    ("start", "op", "expected"),
    [
        (9, (1, 1, 10, 0), 10),  # at the threshold is not beyond it
        (10, (1, 1, 10, 0), 0),
        (1, (1, -1, 0, 99), 0),
        (0, (1, -1, 0, 99), 99),
        (50, (1, 0, 10, 7), 7),  # an increment of 0 counts as upwards
    ],
)
async def test_a_counter_beyond_its_threshold_is_reset(
    public: Make, start: int, op: Any, expected: int
) -> None:
    table = await public()
    table.insert(("a", start))

    assert expected == table.update_counter("a", op)
    assert [("a", expected)] == table.rows()


async def test_a_counter_begins_with_the_default_row_under_the_key_asked_for(public: Make) -> None:
    table = await public()

    assert 6 == table.update_counter("a", 1, ("ignored", 5, "x"))
    assert [("a", 6, "x")] == table.rows()
    with pytest.raises(otp.KeyNotFound):
        table.update_counter("b")


@pytest.mark.parametrize(
    "op", ["1", 1.5, True, (0, 1), (5, 1), (-1, 1), (2, 1), (1, 1, 1), (1, "x"), [1, (9, 1)]]
)
async def test_a_count_that_cannot_be_made_changes_nothing(public: Make, op: Any) -> None:
    table = await public()
    table.insert(("a", 1, "text"))
    with pytest.raises(kb.UsageError):
        table.update_counter("a", op)

    assert [("a", 1, "text")] == table.rows()


@pytest.mark.parametrize("kind", ["bag", "duplicate_bag"])
async def test_counters_and_elements_are_not_for_bags(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    with pytest.raises(kb.UsageError, match="is a " + kind):
        table.update_counter("a", 1, ("a", 0))
    with pytest.raises(kb.UsageError):
        table.update_element("a", (1, 2), ("a", 0))


async def test_update_element_replaces_elements_or_says_that_there_is_no_row(public: Make) -> None:
    table = await public()
    table.insert(("a", 1, 2))

    assert table.update_element("a", [(1, "x"), (2, "y")]) is True
    assert table.update_element("b", (1, 0)) is False
    assert table.update_element("c", (1, 0), ("?", 7, 8)) is True
    assert [("a", "x", "y"), ("c", 0, 8)] == table.rows()
    for bad in [(0, "key"), (3, 0), 1, [(1, 1), (0, 0)]]:
        with pytest.raises(kb.UsageError):
            table.update_element("a", bad)
    assert [("a", "x", "y")] == table.lookup("a")


async def test_a_named_tuple_stays_one_when_it_is_updated(public: Make) -> None:
    table = await public()
    table.insert(Point("p", 1, 2))
    table.update_counter("p")
    table.update_element("p", (2, 9))

    assert Point("p", 2, 9) == table.lookup("p")[0]
    assert isinstance(table.lookup("p")[0], Point)


@pytest.mark.parametrize("kind", KINDS)
async def test_delete_all_leaves_a_table_that_works(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert((1, "a"), (2, "b"))
    assert 1 == table.first()
    table.delete_all()
    assert table.first() is None
    table.insert((3, "c"))

    assert [(3, "c")] == table.rows()
    assert [3] == table.keys()


@pytest.mark.parametrize("ask", ["lookup", "member", "delete", "take", "update_counter"])
async def test_a_key_that_cannot_be_hashed_is_a_mistake_of_the_caller(public: Make, ask: str) -> None:
    table = await public()
    with pytest.raises(kb.UsageError, match="hashable"):
        getattr(table, ask)([])


async def test_a_test_that_changes_the_table_under_a_select_keeps_what_it_did(public: Make) -> None:
    for kind in KINDS:
        table = await public(kind=kind)
        table.insert((1, "old"), (2, "old"), (3, "old"))

        def where(row: Any, table: otp.Table[Any] = table) -> bool:
            table.delete(2)
            table.insert((4, "new"))
            return bool(row[0] != 3)

        assert 1 == table.select_delete(where)
        expected = 3 if kind == "duplicate_bag" else 1
        assert [(3, "old")] + [(4, "new")] * expected == sorted(table.rows())


async def test_a_change_that_deletes_rows_under_select_replace_brings_none_back(public: Make) -> None:
    for kind in KINDS:
        if kind == "bag":
            continue
        table = await public(kind=kind)
        table.insert((1, "old"), (2, "old"))

        def change(row: Any, table: otp.Table[Any] = table) -> Any:
            table.delete(2)
            return (row[0], "new")

        assert 1 == table.select_replace(None, change)
        assert [(1, "new")] == table.rows()
