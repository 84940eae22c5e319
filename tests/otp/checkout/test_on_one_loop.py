"""A pool on the borrower's own loop, which is spared its messages: it lends no differently for that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.otp.checkout.workers import Owner, Worker

import koboshi as kb
from koboshi import otp
from koboshi.testing import wait_idle


class Borrower(kb.Actor):
    """Borrows in ways that a test is about, and says what it got to."""

    def __init__(self, told: list[object]) -> None:
        self.told = told
        self.pool = otp.checkout_pool("pool", Worker)

    @kb.message
    async def borrow_as_it_dies(self) -> None:
        self.me.exit(kb.Exited("no more"))
        async with self.pool.checkout():
            self.told.append("lent")

    @kb.message
    async def borrow(self, times: int) -> None:
        for _ in range(times):
            async with self.pool.checkout():
                pass
        self.told.append("done")

    @kb.message
    def note(self, what: str) -> None:
        self.told.append(what)


def pool(size: int = 1, max_restarts: int = 0) -> kb.Supervisor:
    spec = kb.child(otp.CheckoutPool, kb.child(Worker), size=size, overflow=0)
    return kb.Supervisor(spec.options(name="pool"), max_restarts=max_restarts)


async def test_a_pool_that_is_traced_tells_of_what_it_lends_and_gets_back() -> None:
    events: list[Any] = []
    async with pool():
        kb.listen(events.append)
        await otp.trace("pool")
        async with otp.checkout_pool("pool", Worker).checkout():
            pass
        await otp.checkout_pool("pool", Worker).status()

    told = [event.message for event in events if isinstance(event, otp.MessageIn)]
    assert ["CheckoutPool.checkout", "CheckoutPool.checkin", "CheckoutPool.status"] == told


async def test_a_suspended_pool_lends_and_takes_back_when_it_is_resumed() -> None:
    async with pool(2):
        borrow = otp.checkout_pool("pool", Worker)
        lent = await borrow.checkout()
        await otp.suspend("pool")
        borrow.checkin(lent)
        waiting = asyncio.ensure_future(anext(_one(borrow)))
        await otp.get_state("pool")

        assert not waiting.done()
        await otp.resume("pool")
        assert lent == await waiting
        assert (1, 1) == ((s := await borrow.status()).free, s.lent)


async def _one(borrow: otp.Checkouts[Worker]) -> Any:
    yield await borrow.checkout()


async def test_who_has_been_told_to_end_is_lent_nothing() -> None:
    told: list[object] = []
    async with pool():
        borrower = await kb.start(Borrower, told)
        borrower.cast(Borrower.borrow_as_it_dies)

        assert kb.Exited("no more") == await borrower.wait_exit()
        async with otp.checkout_pool("pool", Worker).checkout(1.0) as worker:
            assert 1 == await worker.call(Worker.use)
        assert [] == told


async def test_who_borrows_again_and_again_lets_others_have_their_turn() -> None:
    told: list[object] = []
    async with pool():
        first, second = await kb.start(Borrower, told), await kb.start(Borrower, told)
        first.cast(Borrower.borrow, 3_000)
        second.cast(Borrower.note, "other")
        await first.call(Borrower.note, "end")

        assert ["other", "done", "end"] == told


async def test_what_is_borrowed_on_the_same_loop_is_counted() -> None:
    async with pool():
        borrow = otp.checkout_pool("pool", Worker)
        for _ in range(3):
            async with borrow.checkout():
                pass

        assert 3 == (await borrow.status()).checkouts


async def test_a_killed_pool_leaves_nobody_waiting_and_watches_nobody() -> None:
    async with pool(max_restarts=1):
        borrow = otp.checkout_pool("pool", Worker)
        owner, waiter = await kb.start(Owner), await kb.start(Owner)
        await owner.call(Owner.take)
        waiting = asyncio.ensure_future(waiter.call(Owner.take, None))
        await wait_idle()
        assert 1 == (await borrow.status()).waiting
        assert (1, 1) == (kb.info(owner).watched_by, kb.info(waiter).watched_by)
        lender = kb.whereis("pool")
        assert lender is not None
        lender.kill()
        await lender.wait_exit()

        assert 0 == kb.info(owner).watched_by
        with pytest.raises(kb.ActorExited):
            await waiting


async def test_an_owner_that_has_given_back_is_watched_no_more() -> None:
    async with pool():
        owner = await kb.start(Owner)
        await owner.call(Owner.take)
        await owner.call(Owner.give_back)
        await otp.checkout_pool("pool", Worker).status()

        assert 0 == kb.info(owner).watched_by
