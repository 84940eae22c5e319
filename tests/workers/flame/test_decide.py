"""How large an elastic pool is to be: pure decisions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from koboshi.workers.flame._decide import Limits, Load, choose, next_look, to_boot, to_retire, wanted

LIMITS = Limits(least=0, most=8, max_concurrency=2, idle_after=30.0, warm_spare=1)

limits = st.builds(
    Limits,
    least=st.integers(0, 3),
    most=st.integers(3, 10),
    max_concurrency=st.integers(1, 5),
    idle_after=st.floats(0.1, 100),
    warm_spare=st.integers(0, 3),
)
loads = st.lists(
    st.builds(Load, st.integers(0, 100), st.integers(0, 6), st.none() | st.floats(0, 100)),
    max_size=12,
    unique_by=lambda load: load.id,
)


def test_nothing_to_do_needs_no_runner() -> None:
    assert 0 == wanted(0, LIMITS)


def test_work_needs_enough_runners_and_the_spares() -> None:
    assert [2, 2, 3, 3, 4] == [wanted(demand, LIMITS) for demand in (1, 2, 3, 4, 5)]


def test_there_are_never_more_than_the_most_nor_fewer_than_the_least() -> None:
    assert 8 == wanted(1000, LIMITS)
    assert 3 == wanted(0, replace(LIMITS, least=3))


def test_those_that_are_booting_count() -> None:
    assert 0 == to_boot(4, up=1, booting=2, limits=LIMITS)
    assert 1 == to_boot(4, up=1, booting=1, limits=LIMITS)


def test_one_that_is_idle_for_long_enough_ends_the_longest_idle_first() -> None:
    idle = [Load(1, 0, 10.0), Load(2, 0, 5.0), Load(3, 0, 35.0)]

    assert [2, 1] == to_retire(0, idle, now=41.0, limits=LIMITS)
    assert [2] == to_retire(2, idle, now=41.0, limits=LIMITS)
    assert [] == to_retire(0, idle, now=34.0, limits=LIMITS)


def test_the_fullest_with_room_takes_the_next() -> None:
    assert 2 == choose([Load(1, 0, 0.0), Load(2, 1, None), Load(3, 2, None)], LIMITS)
    assert choose([Load(3, 2, None)], LIMITS) is None


def test_the_next_look_is_when_the_first_may_be_due() -> None:
    assert 5.0 == next_look([Load(1, 0, 10.0), Load(2, 0, 20.0)], 35.0, LIMITS)
    assert next_look([Load(1, 1, None)], 35.0, LIMITS) is None


@given(st.integers(0, 100), loads, st.integers(0, 8), st.floats(0, 300), limits)
def test_whatever_happens_the_limits_hold(
    demand: int, seats: list[Load], booting: int, now: float, limits: Limits
) -> None:
    boot = to_boot(demand, len(seats), booting, limits)
    retired = to_retire(demand, seats, now, limits)
    left = len(seats) - len(retired)
    chosen = choose(seats, limits)

    assert boot == 0 or len(seats) + booting + boot <= limits.most
    assert len(set(retired)) == len(retired)
    assert not retired or left >= max(limits.least, wanted(demand, limits))
    assert not (boot and retired)
    assert all(load.in_hand == 0 for load in seats if load.id in retired)
    room = {load.id for load in seats if load.in_hand < limits.max_concurrency}
    assert chosen in room if room else chosen is None
