"""Checkout pools: rules 73 and 74 of poolboy, and what is never lost at a race."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.otp.checkout.workers import Owner, Worker
from tests.virtual import run_virtual
from tests.waiting import ask

import koboshi as kb
from koboshi import otp

Pool = otp.Checkouts[Worker]


@asynccontextmanager
async def pool_of(size: int, overflow: int = 0, worker: Any = None, **options: Any) -> AsyncIterator[Pool]:
    spec = kb.child(otp.CheckoutPool, worker or kb.child(Worker), size=size, overflow=overflow, **options)
    async with kb.Supervisor(spec.options(name="pool"), max_restarts=0):
        yield otp.checkout_pool("pool", Worker)


async def settled(pool: Pool, **expected: Any) -> otp.CheckoutStatistics:
    """The pool's status once it is as expected."""

    async def so() -> otp.CheckoutStatistics | None:
        status = await pool.status()
        return status if all(getattr(status, name) == value for name, value in expected.items()) else None

    return await ask(so, f"a pool, on whatever node, with {expected}", bound=10)


async def taken(pool: Pool, timeout: float | None) -> kb.ActorRef[Worker]:
    return await pool.checkout(timeout)


async def owner() -> kb.ActorRef[Owner]:
    return await kb.start(Owner)


async def test_a_worker_is_lent_to_one_at_a_time_and_comes_back_with_its_block() -> None:
    async with pool_of(1) as pool:
        async with pool.checkout() as worker:
            assert 1 == await worker.call(Worker.use)
            with pytest.raises(otp.NoWorkerFree, match="all 1 workers"):
                await pool.checkout(block=False)
        async with pool.checkout() as again:
            assert 2 == await again.call(Worker.use)
        assert worker == again

        assert ("ready", 1, 0) == ((s := await pool.status()).state, s.free, s.lent)


async def test_overflow_workers_are_started_when_all_are_lent_and_ended_when_they_come_back() -> None:
    async with pool_of(2, 1) as pool:
        refs = [await pool.checkout() for _ in range(3)]
        assert 3 == len(set(refs))
        full = await pool.status()
        assert ("full", 0, 3, 1) == (full.state, full.free, full.lent, full.overflow)
        pool.checkin(refs[0])
        await refs[0].wait_exit()
        for ref in refs[1:]:
            pool.checkin(ref)
        status = await settled(pool, free=2)

        assert ("ready", 0, 0) == (status.state, status.lent, status.overflow)
        assert [False, True, True] == [ref.alive for ref in refs]


async def test_a_worker_that_comes_back_goes_to_who_has_waited_longest_even_if_it_is_one_too_many() -> None:
    async with pool_of(1, 1) as pool:
        refs = [await pool.checkout() for _ in range(2)]
        waiting = []
        for n in range(3):
            waiting.append(asyncio.ensure_future(taken(pool, 5.0)))
            await settled(pool, waiting=n + 1)
        pool.checkin(refs[0])
        assert refs[0] == await waiting[0]
        pool.checkin(refs[1])
        assert refs[1] == await waiting[1]
        pool.checkin(refs[1])
        assert refs[1] == await waiting[2]

        assert 1 == (await pool.status()).overflow


@pytest.mark.parametrize(("strategy", "expected"), [("lifo", 2), ("fifo", 0)])
async def test_the_order_of_free_workers_is_as_the_strategy_says(strategy: Any, expected: int) -> None:
    async with pool_of(3, strategy=strategy) as pool:
        refs = [await pool.checkout() for _ in range(3)]
        for ref in refs:
            pool.checkin(ref)

        assert refs[expected] == await pool.checkout()


def test_a_checkout_that_takes_too_long_is_given_up_and_leaves_nobody_waiting() -> None:
    async def main() -> tuple[float, int]:
        async with pool_of(1) as pool:
            worker = await pool.checkout()
            began = asyncio.get_running_loop().time()
            with pytest.raises(kb.CallTimeout):
                await pool.checkout(timeout=2.0)
            elapsed = asyncio.get_running_loop().time() - began
            waiting = (await pool.status()).waiting
            pool.checkin(worker)
            assert worker == await pool.checkout()
            return elapsed, waiting

    assert (2.0, 0) == run_virtual(main)


async def test_the_number_of_those_who_wait_is_bounded() -> None:
    async with pool_of(1, max_waiting=1) as pool:
        worker = await pool.checkout()
        waiting = asyncio.ensure_future(taken(pool, None))
        await settled(pool, waiting=1)
        with pytest.raises(otp.TooManyWaiting, match="1 wait for a worker"):
            await pool.checkout()
        pool.checkin(worker)

        assert worker == await waiting


async def test_the_death_of_one_who_waits_takes_it_out_of_the_queue() -> None:
    async with pool_of(1) as pool:
        worker = await pool.checkout()
        first = await owner()
        first.cast(Owner.take)
        await settled(pool, waiting=1)
        first.kill()
        await first.wait_exit()
        await settled(pool, waiting=0)
        pool.checkin(worker)

        assert worker == await pool.checkout()


async def test_a_worker_whose_owner_dies_is_ended_and_replaced() -> None:
    async with pool_of(1) as pool:
        borrower = await owner()
        worker = await borrower.call(Owner.take)
        borrower.kill()

        assert kb.Killed() == await worker.wait_exit()
        replaced = await pool.checkout()
        assert worker != replaced
        assert 1 == await replaced.call(Worker.use)
        assert 1 == (await pool.status()).discarded


async def test_with_reuse_the_same_worker_comes_back_when_its_owner_dies() -> None:
    async with pool_of(1, on_owner_death="reuse") as pool:
        borrower = await owner()
        worker = await borrower.call(Owner.take)
        borrower.kill()
        await borrower.wait_exit()

        assert worker == await pool.checkout()


async def test_an_owner_that_has_given_its_worker_back_may_die_without_consequence() -> None:
    async with pool_of(1) as pool:
        borrower = await owner()
        worker = await borrower.call(Owner.take)
        await borrower.call(Owner.give_back)
        again = await pool.checkout()
        borrower.kill()
        await borrower.wait_exit()
        await pool.status()

        assert worker == again
        assert again.alive


@pytest.mark.parametrize("lent", [False, True])
async def test_a_worker_that_dies_is_replaced(lent: bool) -> None:
    async with pool_of(2) as pool:
        worker = await pool.checkout()
        if not lent:
            pool.checkin(worker)
        worker.kill()
        await worker.wait_exit()
        await settled(pool, free=2, lent=0)
        assert worker not in {await pool.checkout(), await pool.checkout()}


async def test_a_dying_overflow_worker_is_only_counted_down_unless_somebody_waits() -> None:
    async with pool_of(1, 1) as pool:
        refs = [await pool.checkout() for _ in range(2)]
        refs[1].kill()
        await settled(pool, lent=1, overflow=0, starting=0)
        third = await pool.checkout()
        waiting = asyncio.ensure_future(taken(pool, 5.0))
        await settled(pool, waiting=1)
        third.kill()

        assert (await waiting) not in {*refs, third}


async def test_giving_back_twice_or_what_was_never_lent_is_no_error() -> None:
    async with pool_of(1) as pool:
        worker = await pool.checkout()
        for ref in (worker, worker, await kb.start(Worker)):
            pool.checkin(ref)
        await settled(pool, free=1)

        assert worker == await pool.checkout()
        with pytest.raises(otp.NoWorkerFree):
            await pool.checkout(block=False)


async def test_an_error_in_the_block_gives_the_worker_back() -> None:
    async with pool_of(1) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.checkout():
                raise ZeroDivisionError

        await settled(pool, free=1)


async def test_a_transaction_is_a_checkout_around_a_function() -> None:
    async def twice(worker: kb.ActorRef[Worker], more: int) -> int:
        await worker.call(Worker.use)
        return more + await worker.call(Worker.use)

    async with pool_of(1) as pool:
        assert 12 == await pool.transaction(twice, 10)
        await settled(pool, free=1)


# -- no worker is lost at a race ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_a_worker_that_is_handed_over_as_its_caller_gives_up_comes_back(seed: int) -> None:
    async def main() -> tuple[int, int, int]:
        chance = random.Random(seed)

        async def borrow(pool: Pool) -> None:
            for _ in range(10):
                try:
                    async with pool.checkout(timeout=chance.choice([0.0, 0.01, 0.02, 1.0])):
                        await asyncio.sleep(chance.choice([0.0, 0.01, 0.02]))
                except kb.CallTimeout:
                    pass

        async with pool_of(2, 1) as pool:
            tasks = [asyncio.ensure_future(borrow(pool)) for _ in range(8)]
            for _ in range(30):
                await asyncio.sleep(chance.choice([0.0, 0.005, 0.01]))
                chance.choice(tasks).cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            status = await settled(pool, lent=0, waiting=0, starting=0)
            return status.free, status.lent, status.overflow

    assert (2, 0, 0) == run_virtual(main)


async def test_no_worker_is_ever_in_two_hands_whoever_dies() -> None:
    chance = random.Random(7)
    hands: dict[kb.ActorRef[Any], int] = {}
    worst = 0

    class Borrower(kb.Actor):
        @kb.message
        async def go_on(self) -> None:
            nonlocal worst
            pool = otp.checkout_pool("pool", Worker)
            while True:
                try:
                    async with pool.checkout(timeout=None) as worker:
                        hands[worker] = hands.get(worker, 0) + 1
                        worst = max(worst, hands[worker])
                        try:
                            await worker.call(Worker.use)
                        finally:
                            hands[worker] -= 1
                except kb.CallError:
                    continue

    async with pool_of(3, 2) as pool:
        borrowers = [await kb.start(Borrower) for _ in range(8)]
        for each in borrowers:
            each.cast(Borrower.go_on)
        for turn in range(200):
            await asyncio.sleep(0)
            if turn % 10 == 5 and hands:
                chance.choice(list(hands)).kill()
            if turn % 25 == 3:
                victim = chance.randrange(len(borrowers))
                borrowers[victim].kill()
                borrowers[victim] = await kb.start(Borrower)
                borrowers[victim].cast(Borrower.go_on)
        for each in borrowers:
            each.kill()
            await each.wait_exit()
        await settled(pool, free=3, lent=0, waiting=0, starting=0)

    assert 1 == worst


# -- starts ------------------------------------------------------------------------------------------------


async def test_a_pool_whose_workers_do_not_start_does_not_start_either() -> None:
    with pytest.raises(kb.StartError, match="no connection"):
        async with pool_of(3, worker=kb.child(Worker, lambda: False)):
            pass


def test_workers_that_do_not_start_are_tried_again_more_and_more_slowly() -> None:
    async def main() -> tuple[int, list[float]]:
        up, tries = False, list[float]()

        def may_start() -> bool:
            tries.append(asyncio.get_running_loop().time() - 1000)
            return up

        options = {"start_async": True, "backoff": (1.0, 60.0)}
        async with pool_of(1, worker=kb.child(Worker, may_start), **options) as pool:  # type: ignore[arg-type]
            await asyncio.sleep(10.0)
            up = True
            worker = await pool.checkout(timeout=60)
            return await worker.call(Worker.use), tries

    uses, tries = run_virtual(main)

    assert 1 == uses
    assert [0.0, 1.0, 3.0, 7.0, 15.0] == tries


async def test_who_waits_is_told_of_a_failed_start_when_no_worker_could_come_back_to_it() -> None:
    up = True
    async with pool_of(1, worker=kb.child(Worker, lambda: up)) as pool:
        worker = await pool.checkout()
        waiting = asyncio.ensure_future(taken(pool, 5.0))
        await settled(pool, waiting=1)
        up = False
        worker.kill()
        with pytest.raises(kb.StartError, match="no connection"):
            await waiting


# -- reset, ping, lifetime ---------------------------------------------------------------------------------


async def test_a_worker_is_reset_before_it_is_lent_on() -> None:
    async with pool_of(1, reset=Worker.reset) as pool:
        for resets in range(3):
            async with pool.checkout() as worker:
                assert resets == await worker.call(Worker.count_resets)


async def test_a_worker_that_cannot_be_reset_is_replaced() -> None:
    async with pool_of(1, reset=Worker.reset) as pool:
        async with pool.checkout() as worker:
            await worker.call(Worker.fall_sick)

        async with pool.checkout() as another:
            assert worker != another
        await settled(pool, free=1, lent=0)


def test_a_worker_whose_reset_takes_too_long_is_replaced() -> None:
    async def main() -> tuple[bool, float]:
        async with pool_of(1, reset=Worker.hang, reset_timeout=2.0) as pool:
            async with pool.checkout() as worker:
                began = asyncio.get_running_loop().time()
            another = await pool.checkout(timeout=10)
            return worker != another, asyncio.get_running_loop().time() - began

    assert (True, 2.0) == run_virtual(main)


def test_free_workers_are_asked_whether_they_are_well() -> None:
    async def main() -> tuple[bool, int]:
        async with pool_of(2, ping=Worker.ping, ping_every=10.0) as pool:
            sick = await pool.checkout()
            await sick.call(Worker.fall_sick)
            pool.checkin(sick)
            await asyncio.sleep(11.0)
            await settled(pool, free=2)
            return sick.alive, (await pool.status()).lent

    assert (False, 0) == run_virtual(main)


def test_a_worker_is_replaced_when_its_time_is_over_but_not_while_it_is_lent() -> None:
    async def main() -> tuple[bool, bool, int]:
        async with pool_of(1, max_lifetime=100.0) as pool:
            worker = await pool.checkout()
            await asyncio.sleep(101.0)
            lent = worker.alive
            pool.checkin(worker)
            second = await pool.checkout()
            pool.checkin(second)
            await asyncio.sleep(101.0)
            await settled(pool, free=1)
            return lent, worker.alive or second.alive, (await pool.status()).discarded

    assert (True, False, 2) == run_virtual(main)


@pytest.mark.parametrize("options", [{}, {"ping": Worker.ping, "ping_every": 3.0}])
def test_a_worker_that_is_one_too_many_may_stay_free_for_a_while(options: dict[str, Any]) -> None:
    async def main() -> tuple[list[Any], int]:
        seen: list[Any] = []
        async with pool_of(1, 2, overflow_ttl=10.0, **options) as pool:
            refs = [await pool.checkout() for _ in range(3)]
            for ref in refs:
                pool.checkin(ref)
            await asyncio.sleep(8.0)
            again = await pool.checkout()
            seen.append(("used again", again in refs, (await pool.status()).overflow))
            pool.checkin(again)
            await asyncio.sleep(4.0)
            seen.append(("two are over", again.alive, [ref.alive for ref in refs].count(True)))
            await asyncio.sleep(20.0)
            status = await settled(pool, free=1)
            seen.append(("the regular one stays", status.overflow, again.alive))
            return seen, status.discarded

    assert (
        [("used again", True, 2), ("two are over", True, 1), ("the regular one stays", 0, True)],
        0,
    ) == run_virtual(main)


async def test_a_block_never_gives_back_what_was_lent_to_somebody_else_meanwhile() -> None:
    async with pool_of(1) as pool:
        async with pool.checkout() as worker:
            pool.checkin(worker)
            other = await pool.checkout()
            assert worker == other
        with pytest.raises(otp.NoWorkerFree):
            await pool.checkout(block=False)
        pool.checkin(other)

        assert other == await pool.checkout()


# -- ends, options, nodes ----------------------------------------------------------------------------------


async def test_a_stop_ends_lent_workers_too_and_those_who_wait_hear_of_it() -> None:
    async with pool_of(1) as pool:
        worker = await pool.checkout()
        waiting = asyncio.ensure_future(taken(pool, 5.0))
        await settled(pool, waiting=1)

    with pytest.raises(kb.ActorExited):
        await waiting
    assert kb.Shutdown() == await worker.wait_exit()
    with pytest.raises(kb.NotRunning):
        await pool.checkout()
    pool.checkin(worker)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": -1}, "size takes a whole number >= 0, got -1"),
        ({"overflow": 1.5}, "overflow takes a whole number >= 0"),
        ({"overflow_ttl": 0}, "overflow_ttl takes seconds > 0 or None, got 0"),
        ({"strategy": "any"}, "strategy is one of 'lifo', 'fifo'"),
        ({"max_waiting": -1}, "max_waiting takes a whole number"),
        ({"on_owner_death": "ignore"}, "on_owner_death is one of"),
        ({"reset": "reset"}, "reset takes a message"),
        ({"ping": Worker.__init__}, "ping takes a message"),
        ({"max_lifetime": 0}, "max_lifetime takes seconds > 0 or None"),
        ({"backoff": (2, 1)}, "backoff needs"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        otp.CheckoutPool(kb.child(Worker), **options)
    with pytest.raises(kb.UsageError, match="worker takes a child spec"):
        otp.CheckoutPool(Worker)  # type: ignore[arg-type]


async def test_children_are_the_pools_own_affair() -> None:
    async with otp.CheckoutPool(kb.child(Worker), size=1) as tree:
        with pytest.raises(kb.UsageError, match="starts its workers itself"):
            await tree.start_child(kb.child(Worker))
        with pytest.raises(kb.UsageError, match="ends its workers itself"):
            await tree.terminate_child(1)


async def test_one_checkout_is_one_block() -> None:
    async with pool_of(2) as pool:
        checkout = pool.checkout()
        async with checkout:
            with pytest.raises(kb.UsageError, match="this checkout is in use"):
                await checkout.__aenter__()
        with pytest.raises(kb.UsageError, match="timeout takes seconds"):
            pool.checkout(timeout=-1)


@pytest.mark.slow
async def test_workers_and_owners_may_live_on_other_nodes() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    spec = kb.child(otp.CheckoutPool, kb.child(Worker).options(on="n1"), size=1, overflow=0)
    borrower = kb.child(Owner).options(id="owner", on="n2", restart="temporary")
    async with kb.Supervisor(nodes, spec.options(name="pool"), borrower) as tree:
        pool = otp.checkout_pool("pool", Worker)
        remote = tree.ref(Owner, "owner")
        worker = await remote.call(Owner.take)
        assert os.getpid() != await worker.call(Worker.pid)
        with pytest.raises(otp.NoWorkerFree):
            await pool.checkout(block=False)
        remote.kill()
        await worker.wait_exit()
        async with pool.checkout(timeout=10) as another:
            pid = await another.call(Worker.pid)
        assert another != worker
        os.kill(pid, 9)
        await another.wait_exit()
        async with pool.checkout(timeout=10) as third:
            assert pid != await third.call(Worker.pid)


@pytest.mark.parametrize("wrong", ["worker", None, 5])
async def test_what_is_no_worker_is_refused_where_it_is_given_back_and_the_pool_lives_on(wrong: Any) -> None:
    async with pool_of(1) as pool:
        with pytest.raises(kb.UsageError, match="checkin takes the worker that checkout gave, a ref; got"):
            pool.checkin(wrong)

        assert 1 == (await pool.status()).free


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reset": Owner.give_back}, "reset takes a message of the worker's class, Worker, got"),
        ({"ping": "use"}, "ping takes a message of the worker's class, Worker, got 'use'"),
        ({"reset": Worker.use_for}, "reset is called without arguments, and Worker.use_for needs some"),
        ({"size": 0, "overflow": 0}, "size and overflow are both 0, so nobody would ever have a worker"),
    ],
)
def test_options_with_which_no_worker_could_be_lent_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(kb.UsageError) as caught:
        otp.CheckoutPool(kb.child(Worker), **options)

    assert told in str(caught.value)
