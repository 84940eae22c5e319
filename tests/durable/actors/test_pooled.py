"""Pooled kinds: workers without a state or a row, of which any that is free has the next message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.durable.changes import delivered

import koboshi as kb

from .accounts import Account, Bank, bank_of
from .test_fence import rows


class Clerk(kb.DurableActor[None]):
    bank: ClassVar[Bank]

    @kb.message
    def add(self, one: int, other: int) -> int:
        return one + other

    @kb.message
    def pay(self, key: str, cents: int) -> str:
        self.send(self.bank[key], Account.deposit, cents)
        return self.key

    @kb.message
    def pay_and_break(self, key: str) -> None:
        self.send(self.bank[key], Account.deposit, 99)
        raise ValueError("broken")

    @kb.message
    async def meet(self, barrier: Any) -> str:
        await barrier.wait()
        return self.key

    @kb.message
    def keep(self) -> None:
        self.state = 7  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]

    @kb.message
    def tag_it(self) -> None:
        self.tag(city="Oslo")


def clerks_at(store: str, count: int = 3) -> kb.Durable[Clerk]:
    Clerk.bank = bank_of(store)
    return kb.durable(Clerk, store=store, pooled=count)


async def test_messages_run_at_once_on_as_many_workers_as_there_are(store: str) -> None:
    clerks = clerks_at(store)

    async with kb.Supervisor(clerks.child()):
        assert 5 == await clerks.any.call(Clerk.add, 2, 3)
        barrier = asyncio.Barrier(3)
        found = await asyncio.gather(*(clerks.any.call(Clerk.meet, barrier) for _ in range(3)))

        assert 3 == len(set(found)) == clerks.statistics().active


async def test_what_a_worker_sends_is_delivered_once_and_it_leaves_no_row(url: str, file: Path) -> None:
    clerks = clerks_at(url)

    async with kb.Supervisor(clerks.child(), Clerk.bank.child()):
        for _ in range(2):
            with pytest.raises(kb.ActorExited):
                await clerks.any.call(Clerk.pay_and_break, "a")
        workers = await asyncio.gather(*(clerks.any.call(Clerk.pay, "a", 1) for _ in range(30)))
        await delivered(Clerk.bank)

        assert 30 == await Clerk.bank["a"].call(Account.balance)
        assert 3 == len(set(workers)) == clerks.statistics().active
    assert [("Account",)] == rows(file, "SELECT actor_type FROM kb_actor")
    assert [] == rows(file, "SELECT source FROM kb_outbox")


async def test_what_waits_for_a_worker_that_crashes_goes_to_another(store: str) -> None:
    clerks = clerks_at(store, 1)

    async with kb.Supervisor(clerks.child(), Clerk.bank.child()):
        done = await asyncio.gather(
            clerks.any.call(Clerk.pay_and_break, "a"),
            clerks.any.call(Clerk.add, 1, 1),
            return_exceptions=True,
        )

        assert isinstance(done[0], kb.ActorExited)
        assert 2 == done[1]


async def test_what_needs_a_row_is_refused(store: str) -> None:
    clerks = clerks_at(store)

    async with kb.Supervisor(clerks.child()):
        for message, text in ((Clerk.keep, "has changed the state"), (Clerk.tag_it, "without a row")):
            with pytest.raises(kb.ActorExited) as caught:
                await clerks.any.call(message)
            assert text in str(caught.value.__cause__)
        with pytest.raises(kb.UsageError, match="keeps no messages"):
            await clerks.any.put(Clerk.add, 1, 1)
        with pytest.raises(kb.UsageError, match="files no replies"):
            clerks.any.request("x")
        with pytest.raises(kb.UsageError, match="have no keys"):
            clerks["a"]
        with pytest.raises(kb.UsageError, match="is not pooled"):
            _ = Clerk.bank.any


@pytest.mark.parametrize(
    "options", [{"name": "one"}, {"history": True}, {"durability": "memory"}, {"pooled": 0}]
)
def test_options_that_need_a_state_do_not_go_with_it(options: Any) -> None:
    with pytest.raises(kb.UsageError):
        kb.durable(Clerk, **{"store": "memory://", "pooled": 2, **options})
