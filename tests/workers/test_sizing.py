"""How many workers an elastic pool wants: values in, a size out, time given."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import koboshi as kb
from koboshi.workers.pool._sizing import GROW_AFTER, Demand, Sizing

SIZING = Sizing(1, 8, idle_after=10.0)


def test_it_grows_when_jobs_have_waited_with_nobody_free_and_at_most_doubles() -> None:
    demand = Demand(SIZING)
    now = 0.0
    sizes = [1]
    for _ in range(8):
        size = sizes[-1]
        sizes.append(demand.wanted(now, size=size, up=size, busy=size, waiting=100))
        now += GROW_AFTER

    assert [1, 1, 2, 2, 4, 4, 8, 8, 8] == sizes


def test_it_grows_by_no_more_workers_than_jobs_wait() -> None:
    demand = Demand(SIZING)
    demand.wanted(0.0, size=4, up=4, busy=4, waiting=1)

    assert 5 == demand.wanted(1.0, size=4, up=4, busy=4, waiting=1)


def test_a_burst_that_is_over_at_once_starts_nothing() -> None:
    demand = Demand(SIZING)
    demand.wanted(0.0, size=1, up=1, busy=1, waiting=100)
    demand.wanted(0.01, size=1, up=1, busy=1, waiting=0)

    assert 1 == demand.wanted(0.025, size=1, up=1, busy=1, waiting=100)


def test_it_does_not_grow_again_while_workers_are_being_started() -> None:
    demand = Demand(SIZING)
    for now in (0.0, 1.0, 2.0):
        assert 4 == demand.wanted(now, size=4, up=3, busy=3, waiting=100)


def test_it_shrinks_to_what_was_busy_at_once_in_a_whole_window() -> None:
    demand = Demand(SIZING)
    for now, busy in ((0.0, 5), (4.0, 3), (9.0, 0)):
        assert 6 == demand.wanted(now, size=6, up=6, busy=busy, waiting=0)
    assert 5 == demand.wanted(10.0, size=6, up=6, busy=0, waiting=0)
    assert 5 == demand.wanted(15.0, size=5, up=5, busy=3, waiting=0)
    assert 3 == demand.wanted(20.0, size=5, up=5, busy=0, waiting=0)
    assert 1 == demand.wanted(30.0, size=3, up=3, busy=0, waiting=0)
    assert demand.wanted(40.0, size=1, up=1, busy=0, waiting=0) == 1
    assert demand.next_look() is None


def test_work_once_in_every_window_keeps_the_size() -> None:
    demand = Demand(SIZING)
    for turn in range(50):
        assert 6 == demand.wanted(turn * 5.0, size=6, up=6, busy=6 * (turn % 2), waiting=0)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 9), st.integers(0, 50)), max_size=60))
def test_the_size_is_always_between_its_bounds_and_never_below_what_is_busy(
    steps: list[tuple[float, int, int]],
) -> None:
    demand, now, size = Demand(Sizing(2, 6, 5.0)), 0.0, 2
    for passed, busy, waiting in steps:
        now += passed
        busy = size if waiting else min(busy, size)
        size = demand.wanted(now, size=size, up=size, busy=busy, waiting=waiting)

        assert max(2, busy) <= size <= 6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 2, "max": 3}, "size is for a fixed number of workers"),
        ({"min": 0}, "min takes a whole number >= 1, got 0"),
        ({"max": 1.5}, "max takes a whole number >= 1, got 1.5"),
        ({"min": 3, "max": 2}, "min is at most max, got min=3 and max=2"),
        ({"size": 2, "idle_after": 1.0}, "idle_after is for pools with min and max"),
        ({"min": 1, "max": 2, "idle_after": 0}, "idle_after takes seconds > 0"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(kb.UsageError, match=says):
        kb.pool(**options)
