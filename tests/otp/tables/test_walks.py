"""Walks from key to key: the order of ordered sets, and what fixing promises for the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.otp.tables.conftest import Make
from tests.otp.tables.rig import KINDS

import koboshi as kb
from koboshi import otp
from koboshi.otp.tables import _sorted_keys, _walk_order
from koboshi.otp.tables._sorted_keys import SortedKeys
from koboshi.otp.tables._stores import new_store


def walked(table: Any) -> list[Any]:
    """The keys from first to last, one by one."""
    found, end = [], object()
    key = table.first(end)
    while key is not end:
        found.append(key)
        key = table.next(key, end)
    return found


def walked_back(table: Any) -> list[Any]:
    """The keys from last to first, one by one."""
    found, end = [], object()
    key = table.last(end)
    while key is not end:
        found.append(key)
        key = table.prev(key, end)
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_a_walk_meets_every_key_once_both_ways(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*[(n, "x") for n in (5, 3, None, 9, 1) if kind != "ordered_set" or n is not None])

    assert table.keys() == walked(table)
    assert table.keys()[::-1] == walked_back(table)


async def test_an_ordered_set_is_walked_in_the_order_of_its_keys(public: Make) -> None:
    table = await public(kind="ordered_set")
    table.insert(*[(n, "x") for n in (5, 3, 9, 1)])

    assert [1, 3, 5, 9] == walked(table)
    assert [(3, "x"), (5, "x")] == table.range(3, 9)
    assert [(1, "x"), (3, "x"), (5, "x"), (9, "x")] == list(table)


async def test_next_of_a_deleted_key_works_on_ordered_sets(public: Make) -> None:
    table = await public(kind="ordered_set")
    table.insert(*[(n, "x") for n in (1, 3, 5)])
    table.delete(3)

    assert (5, 1) == (table.next(3), table.prev(3))
    assert (1, None) == (table.next(-7), table.next(5))
    with pytest.raises(kb.UsageError, match="compared"):
        table.next("text")


@pytest.mark.parametrize("kind", ["set", "bag", "duplicate_bag"])
async def test_next_of_a_deleted_key_is_refused_on_other_kinds_unless_fixed(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*[(n, "x") for n in (1, 2, 3)])
    assert 1 == table.first()
    table.delete(1)
    with pytest.raises(otp.KeyNotFound):
        table.next(1)
    with table.fixed():
        assert 2 == table.first()
        table.delete(2)
        assert 3 == table.next(2)
    with pytest.raises(otp.KeyNotFound):
        table.next(2)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fixed_walk_meets_what_stays_once_whatever_comes_and_goes(public: Make, kind: str) -> None:
    table = await public(kind=kind)
    table.insert(*[(n, "x") for n in range(300)])
    met: list[int] = []
    with table.fixed():
        key = table.first()
        while key is not None:
            met.append(key)
            table.delete(key if key % 3 == 0 else -1)
            if key % 3 == 0 and key < 300:
                table.delete(key + 3)
                table.insert((key + 1000, "y"))
            key = table.next(key)

    stayed = [n for n in range(300) if n % 3]
    assert stayed == [n for n in met if n in set(stayed)]
    assert len(met) == len(set(met))


async def test_deletes_while_fixed_twice_keep_their_places_until_the_last_one_is_done(public: Make) -> None:
    table = await public()
    table.insert((1, "x"), (2, "x"))
    with table.fixed():
        with table.fixed():
            assert 2 == table.statistics().fixed
            table.delete(1)
        assert 2 == table.next(1)
    assert 0 == table.statistics().fixed
    assert [2] == walked(table)


async def test_the_list_of_a_walk_does_not_grow_with_keys_that_come_and_go(public: Make) -> None:
    table = await public()
    table.insert(*[(n, "x") for n in range(10)])
    table.first()
    for n in range(10_000):
        table.insert((("guest", n), "x"))
        table.delete(("guest", n))

    assert len(table._store.order._keys or ()) <= 2 * _walk_order.SMALL
    assert list(range(10)) == walked(table)


KEYS = st.integers(0, 6)


class WalkMachine(RuleBasedStateMachine):
    """A store of any kind beside a dict, with walks in between."""

    @rule(kind=st.sampled_from(KINDS))
    def begin(self, kind: Any) -> None:
        self.kind, self.store = kind, new_store(kind)
        self.model: dict[int, None] = {}

    def __init__(self) -> None:
        super().__init__()
        self.begin("set")

    @rule(key=KEYS)
    def insert(self, key: int) -> None:
        self.store.put(key, (key,))
        self.model.setdefault(key)

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.store.set_rows(key, [])
        self.model.pop(key, None)

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()

    @rule(key=KEYS)
    def step(self, key: int) -> None:
        expected = sorted(self.model) if self.store.ordered else list(self.model)
        if self.store.ordered:
            assert [each for each in expected if each > key][:1] == self.store.order.after(key)
            assert [each for each in expected if each < key][-1:] == self.store.order.before(key)
        elif key in self.model:
            at = expected.index(key)
            assert expected[at + 1 : at + 2] == self.store.order.after(key)
            assert expected[max(0, at - 1) : at] == self.store.order.before(key)

    @invariant()
    def agrees(self) -> None:
        expected = sorted(self.model) if self.store.ordered else list(self.model)
        assert expected == self.store.keys()
        assert expected[:1] == self.store.order.first()
        assert expected[-1:] == self.store.order.last()
        if self.kind != "duplicate_bag":
            assert len(expected) == self.store.size


test_walks_agree_with_a_model = WalkMachine.TestCase


@given(st.lists(st.integers(0, 400)), st.integers(-5, 405), st.integers(-5, 405))
def test_blocks_of_sorted_keys_are_one_sorted_list(numbers: list[int], low: int, high: int) -> None:
    normal, _sorted_keys.BLOCK = _sorted_keys.BLOCK, 3
    try:
        keys, expected = SortedKeys(), set[int]()
        for n in numbers:
            if n in expected:
                keys.remove(n)
            else:
                keys.add(n)
            expected ^= {n}
        assert sorted(expected) == list(keys)
        assert sorted(expected, reverse=True) == list(reversed(keys))
        assert [n for n in sorted(expected) if low <= n < high] == keys.between(low, high)
        assert [n for n in sorted(expected) if n > low][:1] == keys.after(low)
        assert [n for n in sorted(expected) if n < low][-1:] == keys.before(low)
        assert all(0 < len(block) < 6 for block in keys._blocks)
    finally:
        _sorted_keys.BLOCK = normal
