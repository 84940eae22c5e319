"""The rules of a ledger, one by one."""

from __future__ import annotations

import asyncio
import os
import pickle
import stat
from collections.abc import Callable
from typing import Protocol

import pytest

from koboshi.durable import (
    Claim,
    Counts,
    DeadLetter,
    Fold,
    JobState,
    Ledger,
    LedgerClosed,
    LedgerError,
    NotALedger,
    OutcomeUnknown,
    StaleClaim,
    StoreUnavailable,
)

pytestmark = pytest.mark.anyio

NewLedger = Callable[..., Ledger]


class Clock(Protocol):
    """The still clock of the fixtures."""

    now: float

    def advance(self, seconds: float) -> None: ...


async def claim_one(ledger: Ledger, owner: str = "w", lease: float = 60.0) -> Claim:
    (claim,) = await ledger.claim(owner, lease=lease)
    return claim


# -- put -----------------------------------------------------------------------------------------


async def test_a_put_job_is_pending_until_it_is_claimed(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        assert await ledger.put("a", b"payload")
        assert await ledger.counts() == Counts(pending=1)

        claim = await claim_one(ledger)

        assert (claim.id, claim.payload, claim.attempt, claim.owner) == ("a", b"payload", 1, "w")
        assert await ledger.counts() == Counts(claimed=1)


async def test_a_second_put_of_an_id_changes_nothing_in_any_state(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        assert await ledger.put("a", b"first")
        assert not await ledger.put("a", b"second")
        claim = await claim_one(ledger)
        assert claim.payload == b"first"
        assert not await ledger.put("a", b"third")
        await ledger.acknowledge(claim, b"r")

        assert not await ledger.put("a", b"fourth")
        assert await ledger.counts() == Counts(done=1)


async def test_put_many_tells_which_ids_were_new(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("b", b"")

        assert [True, False, True, False] == await ledger.put_many(
            [("a", b""), ("b", b""), ("c", b""), ("a", b"")]
        )


async def test_put_many_with_one_impossible_id_adds_none(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        with pytest.raises(UnicodeEncodeError):
            await ledger.put_many([("a", b""), ("\ud800", b"")])

        assert await ledger.counts() == Counts()


@pytest.mark.parametrize(
    ("id", "payload", "error"),
    [
        ("", b"", ValueError),
        (1, b"", TypeError),
        ("a", "text", TypeError),
        ("a", bytes(64 * 2**20 + 1), ValueError),
    ],
    ids=["empty id", "int id", "str payload", "huge payload"],
)
async def test_wrong_arguments_of_put_are_named(
    new_ledger: NewLedger, id: str, payload: bytes, error: type[Exception]
) -> None:
    async with new_ledger() as ledger:
        with pytest.raises(error, match=r"id must|payload m"):
            await ledger.put(id, payload)


# -- claim ---------------------------------------------------------------------------------------


async def test_claims_come_in_the_order_of_put_and_never_twice(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(name, b"") for name in "abcde"])

        first, second, third = await asyncio.gather(
            ledger.claim("x", limit=2), ledger.claim("y", limit=2), ledger.claim("z", limit=2)
        )

        assert [["a", "b"], ["c", "d"], ["e"]] == [[claim.id for claim in x] for x in (first, second, third)]
        assert await ledger.claim("x") == []


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_claim_limit_below_one_is_refused(new_ledger: NewLedger, limit: int) -> None:
    async with new_ledger() as ledger:
        with pytest.raises(ValueError, match=f"limit must be at least 1, got {limit}"):
            await ledger.claim("w", limit=limit)


@pytest.mark.parametrize("lease", [0.0, -1.0, float("nan"), float("inf")])
async def test_an_impossible_lease_is_refused(new_ledger: NewLedger, lease: float) -> None:
    async with new_ledger() as ledger:
        with pytest.raises(ValueError, match="lease must be a positive number of seconds"):
            await ledger.claim("w", lease=lease)


async def test_a_job_whose_lease_ran_out_is_claimable_again(new_ledger: NewLedger, clock: Clock) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        await claim_one(ledger, "x", lease=30.0)
        clock.advance(29.0)
        assert await ledger.claim("y") == []
        clock.advance(1.0)

        again = await claim_one(ledger, "y")

        assert (again.owner, again.attempt) == ("y", 2)


async def test_a_late_owner_can_change_nothing(new_ledger: NewLedger, clock: Clock) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        late = await claim_one(ledger, "x", lease=30.0)
        clock.advance(30.0)
        current = await claim_one(ledger, "y", lease=30.0)
        before = await ledger.job("a")

        for attempt in (
            ledger.acknowledge(late, b"late"),
            ledger.fail(late, "late"),
            ledger.fail(late, "late", retry=False),
            ledger.release(late),
            ledger.renew(late, lease=999.0),
        ):
            with pytest.raises(StaleClaim, match="'a'") as caught:
                await attempt
            assert caught.value.jobs == ("a",)

        assert await ledger.job("a") == before
        await ledger.acknowledge(current, b"in time")
        with pytest.raises(StaleClaim):
            await ledger.acknowledge(late, b"late")
        assert [b"in time"] == [result.value async for result in ledger.results()]


async def test_an_owner_whose_lease_ran_out_may_still_finish_while_nobody_else_claimed(
    new_ledger: NewLedger, clock: Clock
) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        claim = await claim_one(ledger, lease=30.0)
        clock.advance(100.0)

        await ledger.acknowledge(claim, b"r")

        assert await ledger.counts() == Counts(done=1)


async def test_a_renewed_lease_runs_from_now(new_ledger: NewLedger, clock: Clock) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        claim = await claim_one(ledger, lease=30.0)
        clock.advance(29.0)
        await ledger.renew(claim, lease=30.0)
        clock.advance(29.0)
        assert await ledger.claim("y") == []
        clock.advance(1.0)

        assert await ledger.claim("y") != []


async def test_a_job_that_takes_its_owner_down_each_time_becomes_a_dead_letter(
    new_ledger: NewLedger, clock: Clock
) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        for _ in range(3):
            await claim_one(ledger, "x", lease=30.0)
            clock.advance(30.0)

        assert await ledger.claim("x") == []
        (letter,) = [letter async for letter in ledger.dead_letters()]
        assert letter.report == "the owner x lost its lease during attempt 3 of 3"


# -- acknowledge ---------------------------------------------------------------------------------


async def test_the_result_and_the_done_mark_are_one(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        await ledger.acknowledge(await claim_one(ledger), b"result")

        job = await ledger.job("a")

        assert job is not None
        assert (job.state, job.value, job.due_at) == (JobState.DONE, b"result", None)
        assert [(1, "a", b"result")] == [(r.position, r.id, r.value) async for r in ledger.results()]


async def test_acknowledging_twice_with_one_claim_keeps_the_first_result(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        claim = await claim_one(ledger)
        await ledger.acknowledge(claim, b"first")

        await ledger.acknowledge(claim, b"second")

        assert [b"first"] == [result.value async for result in ledger.results()]
        assert await ledger.counts() == Counts(done=1)


async def test_one_stale_claim_does_not_keep_the_others_from_being_recorded(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([("a", b""), ("b", b""), ("c", b"")])
        claims = await ledger.claim("w", limit=3)
        await ledger.release(claims[1])

        with pytest.raises(StaleClaim) as caught:
            await ledger.acknowledge_many([(claim, claim.id.encode()) for claim in claims])

        assert caught.value.jobs == ("b",)
        assert [b"a", b"c"] == [result.value async for result in ledger.results()]
        assert await ledger.counts() == Counts(pending=1, done=2)


async def test_positions_have_no_gaps_whatever_was_refused(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(name, b"") for name in "abcd"])
        a, b, c, d = await ledger.claim("w", limit=4)
        await ledger.release(b)

        await asyncio.gather(
            ledger.acknowledge(a, b""),
            ledger.acknowledge(b, b""),
            ledger.put("\ud800", b""),
            ledger.acknowledge_many([(c, b""), (a, b""), (b, b""), (d, b"")]),
            return_exceptions=True,
        )

        assert [(1, "a"), (2, "c"), (3, "d")] == [(x.position, x.id) async for x in ledger.results()]


async def test_results_are_paged_in_commit_order(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(str(number), b"") for number in range(7)])
        claims = await ledger.claim("w", limit=7)
        for claim in reversed(claims):
            await ledger.acknowledge(claim, claim.id.encode())

        assert list("6543210") == [result.id async for result in ledger.results(page=2)]
        assert list("10") == [result.id async for result in ledger.results(after=5)]


# -- fail, release, reclaim ----------------------------------------------------------------------


async def test_a_failed_job_waits_longer_each_time_and_then_is_a_dead_letter(
    new_ledger: NewLedger, clock: Clock
) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"payload")
        for attempt, delay in ((1, 10.0), (2, 20.0)):
            claim = await claim_one(ledger)
            assert claim.attempt == attempt
            not_before = await ledger.fail(claim, f"crash {attempt}")
            assert not_before == clock.now + delay
            clock.advance(delay - 0.5)
            assert await ledger.claim("w") == []
            clock.advance(0.5)

        assert await ledger.fail(await claim_one(ledger), "crash 3") is None

        assert [DeadLetter(1, "a", b"payload", 3, "crash 3")] == [x async for x in ledger.dead_letters()]
        assert await ledger.counts() == Counts(dead=1)
        assert await ledger.claim("w") == []


async def test_a_failure_that_cannot_be_cured_is_a_dead_letter_at_once(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")

        assert await ledger.fail(await claim_one(ledger), "hopeless", retry=False) is None

        assert await ledger.counts() == Counts(dead=1)


async def test_the_wait_after_a_failure_survives_a_restart(new_ledger: NewLedger, clock: Clock) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        not_before = await ledger.fail(await claim_one(ledger), "crash")
    async with new_ledger() as ledger:
        assert await ledger.claim("w") == []
        assert await ledger.next_due() == not_before
        clock.advance(10.0)

        assert (await claim_one(ledger)).attempt == 2


async def test_a_report_with_a_lone_surrogate_is_kept_readable(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        await ledger.fail(await claim_one(ledger), "cannot open caf\udce9.py", retry=False)

        assert [r"cannot open caf\udce9.py"] == [letter.report async for letter in ledger.dead_letters()]


async def test_a_released_job_is_due_at_once_and_keeps_its_attempts(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        for _ in range(10):
            claim = await claim_one(ledger)
            assert claim.attempt == 1
            await ledger.release(claim)


async def test_requeue_gives_a_dead_letter_all_attempts_again(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([("a", b""), ("b", b"")])
        await ledger.fail(await claim_one(ledger), "hopeless", retry=False)

        assert await ledger.requeue("a")
        assert not await ledger.requeue("a")
        assert not await ledger.requeue("b")
        assert not await ledger.requeue("never put")

        assert [("a", 1), ("b", 1)] == [(x.id, x.attempt) for x in await ledger.claim("w", limit=9)]


async def test_reclaim_takes_back_exactly_one_owners_claims(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(name, b"") for name in "abc"])
        await ledger.claim("worker-1", limit=1)
        kept = await ledger.claim("worker-10", limit=1)

        assert await ledger.reclaim("worker-1") == 1

        assert ["a", "c"] == [claim.id for claim in await ledger.claim("w", limit=9)]
        await ledger.acknowledge(kept[0], b"")


async def test_reclaim_after_a_restart_does_not_wait_for_leases(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([("a", b""), ("b", b"")])
        await ledger.claim("w", limit=2)
    async with new_ledger() as ledger:
        assert await ledger.claim("w") == []

        assert await ledger.reclaim() == 2

        claims = await ledger.claim("w", limit=2)
        assert [("a", 2), ("b", 2)] == [(claim.id, claim.attempt) for claim in claims]
        assert await ledger.reclaim() == 0  # this run's own claims stay


async def test_reclaim_with_refund_does_not_use_up_attempts(new_ledger: NewLedger) -> None:
    for _ in range(9):
        async with new_ledger() as ledger:
            await ledger.reclaim(refund=True)
            await ledger.put("a", b"")
            assert (await claim_one(ledger)).attempt == 1


async def test_reclaim_buries_a_job_without_attempts_left(new_ledger: NewLedger) -> None:
    for _ in range(3):
        async with new_ledger() as ledger:
            await ledger.reclaim()
            await ledger.put("a", b"")
            await claim_one(ledger)
    async with new_ledger() as ledger:
        assert await ledger.reclaim() == 1

        assert ["the owner w died during attempt 3 of 3"] == [x.report async for x in ledger.dead_letters()]


async def test_a_shared_ledger_refuses_to_reclaim_what_may_be_alive(new_ledger: NewLedger) -> None:
    async with new_ledger(exclusive=False) as one, new_ledger(exclusive=False) as two:
        await one.put("a", b"")
        assert await two.claim("two") != []

        with pytest.raises(ValueError, match="exclusive=True"):
            await one.reclaim()

        assert await one.reclaim("two") == 1


# -- the fold ------------------------------------------------------------------------------------


async def test_a_fold_takes_each_result_once_across_restarts_and_concurrent_callers(
    new_ledger: NewLedger,
) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(str(number), b"") for number in range(50)])
        fold = Fold(ledger, lambda total, result: total + int(result.value), 0)
        for claim in await ledger.claim("w", limit=30):
            await ledger.acknowledge(claim, claim.id.encode())
            await asyncio.gather(fold.catch_up(page=3), fold.catch_up(page=2))
        assert fold.total == sum(range(30))
    async with new_ledger() as ledger:
        resumed = Fold(
            ledger, lambda total, result: total + int(result.value), fold.total, position=fold.position
        )
        await ledger.acknowledge_many([(x, x.id.encode()) for x in await ledger.claim("w", limit=50)])
        from_nothing = Fold(ledger, lambda total, result: total + int(result.value), 0)

        assert (await resumed.catch_up(), await from_nothing.catch_up(page=7)) == (20, 50)
        assert resumed.total == from_nothing.total == sum(range(50))


async def test_a_fold_that_raises_holds_what_came_before(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([("a", b""), ("b", b"")])
        claims = await ledger.claim("w", limit=2)
        await ledger.acknowledge_many([(claims[0], b"5"), (claims[1], b"x")])
        fold = Fold(ledger, lambda total, result: total + int(result.value), 0)

        with pytest.raises(ValueError, match="invalid literal"):
            await fold.catch_up()

        assert (fold.total, fold.position) == (5, 1)


# -- life ----------------------------------------------------------------------------------------


async def test_an_unopened_or_closed_ledger_says_so(new_ledger: NewLedger) -> None:
    ledger = new_ledger()
    with pytest.raises(LedgerClosed, match="not open"):
        await ledger.put("a", b"")
    await ledger.open()
    await ledger.close()
    await ledger.close()

    with pytest.raises(LedgerClosed, match="closed"):
        await ledger.put("a", b"")
    with pytest.raises(LedgerClosed, match="closed already"):
        await ledger.open()


async def test_close_commits_what_was_asked_for_and_leaves_one_private_file(
    new_ledger: NewLedger, path: str
) -> None:
    ledger = await new_ledger().open()
    waiting = [asyncio.create_task(ledger.put(str(number), b"")) for number in range(100)]
    await asyncio.sleep(0)  # the tasks run up to their wait
    await ledger.close()

    assert all(await asyncio.gather(*waiting))
    assert [os.path.basename(path)] == os.listdir(os.path.dirname(path))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    async with new_ledger() as again:
        assert await again.counts() == Counts(pending=100)


async def test_calls_of_one_tick_share_one_commit(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        before = ledger.statistics().groups
        await asyncio.gather(*(ledger.put(str(number), b"") for number in range(500)))

        statistics = ledger.statistics()

        assert statistics.groups - before == 1
        assert (statistics.largest_group, statistics.rows, statistics.queued) == (500, 500, 0)
        assert statistics.last_commit > 0.0


async def test_counts_that_share_a_commit_with_changes_have_those_changes(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        putting = asyncio.ensure_future(ledger.put("a", b""))
        counting = asyncio.ensure_future(ledger.counts())
        claiming = asyncio.ensure_future(ledger.claim("w"))
        again = asyncio.ensure_future(ledger.counts())
        await asyncio.gather(putting, claiming)

        assert (Counts(pending=1), Counts(claimed=1)) == (await counting, await again)


async def test_a_cancelled_caller_leaves_no_claim_behind(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put_many([(str(number), b"") for number in range(20)])
        for ticks in range(12):
            task = asyncio.create_task(ledger.claim("w", limit=20))
            for _ in range(ticks):
                await asyncio.sleep(0)
            task.cancel()
            try:
                for claim in await task:
                    await ledger.release(claim)
            except asyncio.CancelledError:
                pass

        await ledger.counts()  # after it, every release that was queued is committed
        assert await ledger.counts() == Counts(pending=20)
        assert {1} == {claim.attempt for claim in await ledger.claim("w", limit=20)}


async def test_a_claim_cancelled_in_the_tick_of_its_answer_is_given_back(new_ledger: NewLedger) -> None:
    async with new_ledger() as ledger:
        await ledger.put("a", b"")
        claiming: asyncio.Task[list[Claim]]

        async def rival() -> None:
            await ledger.put("b", b"")  # answered in the same tick, and woken first
            claiming.cancel()

        cancelling = asyncio.create_task(rival())
        claiming = asyncio.create_task(ledger.claim("w"))
        with pytest.raises(asyncio.CancelledError):
            await claiming
        await cancelling

        assert ledger.statistics().largest_group == 2  # or this test does not show what it should
        claim = await claim_one(ledger)
        assert ("a", 1) == (claim.id, claim.attempt)


async def test_a_full_queue_refuses_at_once(new_ledger: NewLedger) -> None:
    async with new_ledger(queue_limit=3) as ledger:
        results = await asyncio.gather(
            *(ledger.put(str(number), b"") for number in range(5)), return_exceptions=True
        )

        assert [True, True, True] == results[:3]
        assert all(isinstance(result, StoreUnavailable) for result in results[3:])
        assert await ledger.put("3", b"")


async def test_a_forgotten_ledger_warns(new_ledger: NewLedger) -> None:
    ledger = await new_ledger().open()
    writer = ledger._writer
    assert writer is not None
    with pytest.warns(ResourceWarning, match=r"unclosed ledger <Ledger '.*jobs\.db' open>"):
        del ledger
    await writer.stop()


@pytest.mark.parametrize(
    "options",
    [{"max_attempts": 0}, {"busy_timeout": -1.0}, {"busy_timeout": float("nan")}, {"queue_limit": 0}],
)
def test_impossible_options_are_refused(new_ledger: NewLedger, options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        new_ledger(**options)


@pytest.mark.parametrize(
    "error",
    [
        StaleClaim("acknowledge", tuple("abcdefg")),
        NotALedger("/x", "it is a poem", "give another path"),
        OutcomeUnknown("/x", "disk I/O error"),
        StoreUnavailable("/x", "locked"),
        LedgerClosed("/x", "closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: LedgerError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
