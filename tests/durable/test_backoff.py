"""Delays between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koboshi.durable import Backoff

SECONDS = st.floats(0.0, 1e6)


def test_delays_double_up_to_the_limit() -> None:
    backoff = Backoff(first=1.0, factor=2.0, limit=5.0, jitter=0.0)

    assert [1.0, 2.0, 4.0, 5.0, 5.0] == [backoff.delay(attempt, 0.5) for attempt in range(1, 6)]


def test_jitter_only_shortens() -> None:
    backoff = Backoff(first=8.0, jitter=0.5)

    assert [8.0, 6.0] == [backoff.delay(1, 0.0), backoff.delay(1, 0.5)]


def test_a_huge_attempt_number_gives_the_limit() -> None:
    assert Backoff(jitter=0.0).delay(10**6, 0.0) == 300.0


@given(SECONDS, st.floats(1.0, 10.0), SECONDS, st.floats(0.0, 1.0), st.integers(1, 5000), st.floats(0.0, 1.0))
def test_delays_stay_between_zero_and_the_limit_and_never_shrink(
    first: float, factor: float, more: float, jitter: float, attempt: int, chance: float
) -> None:
    backoff = Backoff(first=first, factor=factor, limit=first + more, jitter=jitter)

    assert 0.0 <= backoff.delay(attempt, chance) <= backoff.limit
    assert backoff.delay(attempt, chance) <= backoff.delay(attempt + 1, chance)


@pytest.mark.parametrize(
    "options",
    [
        {"first": -1.0},
        {"first": 10.0, "limit": 5.0},
        {"limit": float("inf")},
        {"first": float("nan")},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"jitter": 1.5},
        {"jitter": float("nan")},
    ],
)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"backoff .*got"):
        Backoff(**options)


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1, got 0"):
        Backoff().delay(0, 0.0)
