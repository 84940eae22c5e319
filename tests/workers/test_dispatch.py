"""The dispatcher alone: values in, decisions out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from koboshi.workers import JobQueueFull
from koboshi.workers.pool._batch import Batch
from koboshi.workers.pool._dispatch import Dispatcher
from koboshi.workers.pool._window import WINDOW_MAX
from koboshi.workers.process._jobs import FunctionRef
from koboshi.workers.process._outcomes import NumberedOutcomes

FUNCTION = FunctionRef("f", b"")


class Taker:
    """Wants every job that has not been given up."""

    def __init__(self) -> None:
        self.given_up: set[object] = set()

    def wants(self, tag: object) -> bool:
        return tag not in self.given_up


TAKER = Taker()


def batch(*numbers: int, retries: int = 0) -> Batch:
    return Batch(FUNCTION, [(number,) for number in numbers], TAKER, list(numbers), retries)


def warm(dispatcher: Dispatcher[str], worker: str, pace: float) -> None:
    """Let a worker show that it does a job in `pace` seconds."""
    dispatcher.add_worker(worker)
    for turn in range(12):
        dispatcher.enqueue(batch(turn))
        for assignment in dispatcher.assign(0.0):
            list(dispatcher.settle(assignment.worker, [None] * len(assignment.batch.entries), pace))


def test_a_new_worker_gets_one_job_and_no_more() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a")
    dispatcher.enqueue(batch(1, 2, 3))

    assert [[(1,)]] == [each.batch.entries for each in dispatcher.assign(0.0)]


def test_a_worker_with_a_quota_of_three_jobs_gets_three_the_last_marked_as_such() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a", 3)
    dispatcher.enqueue(batch(*range(10)))
    given: list[tuple[list[Any], bool]] = []
    for _ in range(5):
        for each in dispatcher.assign(0.0):
            given.append((each.batch.entries, each.last))
            list(dispatcher.settle("a", [None] * len(each.batch.entries), 1.0))

    assert [([(0,)], False), ([(1,)], False), ([(2,)], True)] == given


def test_a_taker_may_take_jobs_out_at_the_moment_a_worker_is_given_them() -> None:
    class OddOnly(Taker):
        def begin(self, batch: Batch) -> None:
            batch.entries = [entry for entry in batch.entries if entry[0] % 2]  # type: ignore[index]
            batch.tags = [entry[0] for entry in batch.entries]  # type: ignore[index]

    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a", 2)  # jobs that are taken out do not count
    dispatcher.enqueue(Batch(FUNCTION, [(number,) for number in range(4)], OddOnly(), list(range(4))))
    given: list[Any] = []
    while assigned := list(dispatcher.assign(0.0)):
        given += [each.batch.entries for each in assigned]
        list(dispatcher.settle("a", [None], 1.0))

    assert [[(1,)], [(3,)]] == given
    assert 0 == dispatcher.load


def test_jobs_are_shared_out_evenly_between_fast_workers() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    for worker in "ab":
        warm(dispatcher, worker, 1e-6)
    dispatcher.enqueue(batch(*range(10)))

    shares = [len(each.batch.entries) for each in dispatcher.assign(0.0)]

    assert [5, 5] == [shares[0], sum(shares[1:])]


def test_tiny_jobs_widen_the_window_and_it_has_an_end() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    warm(dispatcher, "a", 1e-9)
    dispatcher.enqueue(batch(*range(5000)))

    assert WINDOW_MAX == sum(len(each.batch.entries) for each in dispatcher.assign(0.0))


def test_nothing_is_queued_behind_a_slow_job() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    warm(dispatcher, "a", 0.5)
    dispatcher.enqueue(batch(1, 2))

    assert [[(1,)]] == [each.batch.entries for each in dispatcher.assign(0.0)]


def test_a_congested_worker_gets_nothing() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a")
    dispatcher.set_congested("a", True)
    dispatcher.enqueue(batch(1))

    assert [] == list(dispatcher.assign(0.0))


def test_packed_arguments_close_a_batch_by_their_bytes() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    warm(dispatcher, "a", 1e-9)
    dispatcher.enqueue(Batch(FUNCTION, [b"x" * 700_000 for _ in range(4)], TAKER))

    assert [2, 2] == [len(each.batch.entries) for each in dispatcher.assign(0.0)]


def test_the_job_that_ran_is_returned_and_the_rest_goes_first() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    warm(dispatcher, "a", 0.001)
    dispatcher.enqueue(batch(1, 2, 3))
    list(dispatcher.assign(0.0))
    list(dispatcher.settle("a", [None], 0.001))
    dispatcher.enqueue(batch(4))

    [hit] = dispatcher.remove_worker("a", running=True)
    dispatcher.add_worker("b")
    [first] = dispatcher.assign(0.0)

    assert hit is not None
    assert ([2], [3]) == (hit.tags, first.batch.tags)


def test_a_death_between_jobs_costs_none() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a")
    dispatcher.enqueue(batch(1))
    list(dispatcher.assign(0.0))

    assert [] == dispatcher.remove_worker("a", running=False)
    assert 1 == dispatcher.statistics().queued


def test_a_job_declared_safe_to_repeat_is_started_again_as_often_as_it_says() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.enqueue(batch(1, retries=2))
    hits = []
    for worker in "abc":
        dispatcher.add_worker(worker)
        list(dispatcher.assign(0.0))
        hits += dispatcher.remove_worker(worker, running=True) or [None]  # type: ignore[list-item]

    assert [None, None] == hits[:2]
    assert hits[2] is not None


def test_more_jobs_than_the_limit_are_refused_whole() -> None:
    dispatcher: Dispatcher[str] = Dispatcher(limit=3)
    dispatcher.enqueue(batch(1, 2))

    with pytest.raises(JobQueueFull, match="3 jobs"):
        dispatcher.enqueue(batch(3, 4))

    assert 2 == dispatcher.load


def test_abandoned_jobs_leave_the_queue_when_their_room_is_needed() -> None:
    dispatcher: Dispatcher[str] = Dispatcher(limit=3)
    taker = Taker()
    dispatcher.enqueue(Batch(FUNCTION, [(1,), (2,), (3,)], taker, [1, 2, 3]))
    taker.given_up.update((1, 3))
    dispatcher.abandon()
    dispatcher.abandon()

    assert 2 == dispatcher.room()


def test_many_abandoned_jobs_leave_the_queue_by_themselves() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    taker = Taker()
    tags = list(range(3000))
    dispatcher.enqueue(Batch(FUNCTION, [(tag,) for tag in tags], taker, tags))
    for tag in reversed(tags):
        taker.given_up.add(tag)
        dispatcher.abandon()

    assert dispatcher.load <= 1024


def test_a_job_that_nobody_waits_for_any_more_is_dropped_before_it_is_given_out() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    taker = Taker()
    dispatcher.enqueue(Batch(FUNCTION, [(1,), (2,)], taker, [1, 2]))
    taker.given_up.add(1)
    dispatcher.add_worker("a")

    assert [[2]] == [assignment.batch.tags for assignment in dispatcher.assign(0.0)]
    assert 0 == dispatcher.statistics().queued


def test_a_job_that_nobody_waits_for_is_not_started_again_after_a_crash() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    taker = Taker()
    dispatcher.add_worker("a")
    dispatcher.enqueue(Batch(FUNCTION, [(1,)], taker, [1], retries=5))
    list(dispatcher.assign(0.0))
    taker.given_up.add(1)
    dispatcher.remove_worker("a", running=True)

    assert (0, 0) == (dispatcher.load, dispatcher.statistics().retried)


def test_a_retired_worker_keeps_its_jobs_and_gets_no_more() -> None:
    dispatcher: Dispatcher[str] = Dispatcher()
    dispatcher.add_worker("a")
    dispatcher.enqueue(batch(1))
    list(dispatcher.assign(0.0))
    dispatcher.retire("a")
    list(dispatcher.settle("a", [None], 0.001))
    dispatcher.enqueue(batch(2))

    assert [] == list(dispatcher.assign(0.0))
    assert not dispatcher.busy("a")


class DispatcherMachine(RuleBasedStateMachine):
    """Every job is queued, at one worker, or settled: never two of these, never none."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher: Dispatcher[int] = Dispatcher(limit=400)
        self.at: dict[int, list[int]] = {}
        self.settled: list[int] = []
        self.made = 0
        self.now = 0.0

    @rule(count=st.integers(1, 60), retries=st.integers(0, 1))
    def enqueue(self, count: int, retries: int) -> None:
        numbers = range(self.made, self.made + count)
        try:
            self.dispatcher.enqueue(batch(*numbers, retries=retries))
        except JobQueueFull:
            return
        self.made += count

    @rule()
    def add_worker(self) -> None:
        number = len(self.at) + 1000 * len(self.settled) + self.made * 1_000_000
        if number not in self.at:
            self.at[number] = []
            self.dispatcher.add_worker(number)

    @rule()
    def assign(self) -> None:
        for assignment in self.dispatcher.assign(self.now):
            self.at[assignment.worker] += assignment.batch.tags or []

    @precondition(lambda self: any(self.at.values()))
    @rule(data=st.data(), elapsed=st.floats(1e-6, 0.1))
    def settle(self, data: st.DataObject, elapsed: float) -> None:
        worker = data.draw(st.sampled_from([each for each, jobs in self.at.items() if jobs]))
        jobs = self.at[worker]
        count = data.draw(st.integers(1, len(jobs)))
        self.now += elapsed
        told: list[Any] = []
        for part, outcomes in self.dispatcher.settle(worker, jobs[:count], self.now):
            assert list(outcomes) == part.tags
            told += outcomes
        assert told == jobs[:count]
        self.settled += told
        del jobs[:count]

    @precondition(lambda self: self.at)
    @rule(data=st.data(), running=st.booleans())
    def die(self, data: st.DataObject, running: bool) -> None:
        worker = data.draw(st.sampled_from(list(self.at)))
        jobs = self.at.pop(worker)
        for hit in self.dispatcher.remove_worker(worker, running=running and bool(jobs)):
            assert hit.tags == jobs[:1]
            self.settled += jobs[:1]

    @invariant()
    def every_job_is_in_one_place(self) -> None:
        statistics = self.dispatcher.statistics()
        assert sum(map(len, self.at.values())) == statistics.in_flight
        assert self.made == statistics.queued + statistics.in_flight + len(self.settled)
        assert len(self.settled) == len(set(self.settled))


TestDispatcherMachine = DispatcherMachine.TestCase
TestDispatcherMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_outcomes_with_numbers_settle_their_own_jobs_and_a_death_hits_those_that_had_begun() -> None:
    dispatcher: Dispatcher[str] = Dispatcher(most=4)
    dispatcher.add_worker("a", first=10)
    dispatcher.enqueue(batch(*range(6)))

    assert [4] == [len(assignment.batch.entries) for assignment in dispatcher.assign(0.0)]
    settled = dispatcher.settle("a", NumberedOutcomes([12, 10], ["two", "zero"]), 1.0)
    assert [([2], ["two"]), ([0], ["zero"])] == [(part.tags, list(outcomes)) for part, outcomes in settled]
    assert ("a", 13) == dispatcher.find(TAKER, 3)
    [assignment] = dispatcher.assign(1.0)
    assert [4, 5] == assignment.batch.tags
    hit = dispatcher.remove_worker("a", running=True, begun={11, 15})

    assert [[1], [5]] == [batch.tags for batch in hit]
    dispatcher.add_worker("b")
    assert [[3], [4]] == [assignment.batch.tags for assignment in dispatcher.assign(2.0)]
