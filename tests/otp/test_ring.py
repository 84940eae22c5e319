"""`otp.Ring`: the newest items, and a count of those that had to go."""

from __future__ import annotations

import pickle
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import koboshi as kb
from koboshi import otp


def test_the_newest_item_takes_the_place_of_the_oldest() -> None:
    ring = otp.Ring[int](3)
    ring.extend([1, 2, 3, 4])
    ring.append(5)

    assert (3, 4, 5) == ring.snapshot()
    assert 2 == ring.dropped
    assert otp.RingStatistics(size=3, maxlen=3, dropped=2) == ring.statistics()
    assert "<Ring 3 of 3, 2 dropped>" == repr(ring)


def test_last_gives_the_newest_the_oldest_of_them_first() -> None:
    ring = otp.Ring(3, "abcd")

    assert ["d"] == ring.last()
    assert ["c", "d"] == ring.last(2)
    assert ["b", "c", "d"] == ring.last(99)
    assert [] == ring.last(0)


def test_a_snapshot_is_not_changed_by_later_appends() -> None:
    ring = otp.Ring(2, [1, 2])
    before = ring.snapshot()
    ring.append(3)

    assert (1, 2) == before
    assert [2, 3] == list(ring)
    assert [3, 2] == list(reversed(ring))
    assert (2, 3) == (ring[0], ring[-1])
    assert 3 in ring
    assert 1 not in ring


def test_a_ring_of_an_actor_is_bounded_however_long_it_lives() -> None:
    ring = otp.Ring[int](10)
    for n in range(10_000):
        ring.append(n)

    assert (10, 9_990) == (len(ring), ring.dropped)


def test_a_ring_extended_by_itself_takes_what_it_had() -> None:
    ring = otp.Ring(3, [1, 2])
    ring.extend(ring)

    assert [2, 1, 2] == list(ring)


def test_clear_forgets_items_and_does_not_count_them_as_dropped() -> None:
    ring = otp.Ring(2, [1, 2, 3])
    ring.clear()

    assert ((), 1) == (ring.snapshot(), ring.dropped)


def test_rings_with_the_same_room_and_items_are_equal() -> None:
    assert otp.Ring(2, [1, 2]) == otp.Ring(2, [0, 1, 2])
    assert otp.Ring(3, [1, 2]) != otp.Ring(2, [1, 2])
    assert otp.Ring(2, [1]) != [1]
    with pytest.raises(TypeError):
        hash(otp.Ring(1))


@pytest.mark.parametrize("bad", [0, -1, 1.5, "3", None, True])
def test_the_room_is_a_whole_number_of_at_least_one(bad: Any) -> None:
    with pytest.raises(kb.UsageError, match="maxlen"):
        otp.Ring(bad)


@pytest.mark.parametrize("bad", [-1, 1.5, "3", True])
def test_last_takes_a_whole_number(bad: Any) -> None:
    with pytest.raises(kb.UsageError, match="last"):
        otp.Ring(3).last(bad)


@given(st.integers(1, 5), st.lists(st.integers()), st.lists(st.integers()))
def test_a_ring_is_a_bounded_deque_with_a_count_and_so_is_its_pickle(
    room: int, first: list[int], then: list[int]
) -> None:
    ring, model = otp.Ring(room, first), deque([*first, *then], room)
    copy: otp.Ring[int] = pickle.loads(pickle.dumps(ring))
    for each in (ring, copy):
        each.extend(then)
        assert list(model) == list(each)
        assert max(0, len(first) + len(then) - room) == each.dropped
        assert room == each.maxlen
