"""Actors are put to sleep and woken, and other durabilities keep what they say they keep."""

from __future__ import annotations

import asyncio

import pytest

import koboshi as kb
from koboshi.testing import run_virtual

from .accounts import Account, Balance, bank_of


def test_an_idle_actor_is_put_to_sleep_and_woken_by_its_next_message() -> None:
    async def main() -> None:
        bank = bank_of("memory://idle", deactivate_after=10.0)
        async with kb.Supervisor(bank.child()):
            await bank["a"].call(Account.deposit, 5)
            await bank["b"].call(Account.balance)
            for _ in range(5):
                await asyncio.sleep(4)
                await bank["a"].call(Account.balance)
            assert (1, 1) == (bank.statistics().active, bank.statistics().deactivated)
            await asyncio.sleep(20)
            assert (0, 2) == (bank.statistics().active, bank.statistics().deactivated)

            assert 5 == await bank["a"].call(Account.balance)
            assert ["a"] == await bank.keys()

    run_virtual(main)


async def test_no_more_are_awake_than_may_be(store: str) -> None:
    bank = bank_of(store, max_active=16)

    async with kb.Supervisor(bank.child()):
        for number in range(100):
            await bank[f"k{number}"].call(Account.deposit, number)
            assert bank.statistics().active <= 17
        for number in range(100):
            assert number == await bank[f"k{number}"].call(Account.balance)


def test_a_snapshot_is_replied_first_and_saved_later() -> None:
    async def main() -> None:
        bank = bank_of("memory://snapshot", durability="snapshot", snapshot_every=5.0)
        async with kb.Supervisor(bank.child()):
            await bank["a"].call(Account.deposit, 5)
            assert [] == await bank.keys()
            await asyncio.sleep(6)
            assert ["a"] == await bank.keys()
            await bank["a"].call(Account.deposit, 5)
            with pytest.raises(kb.ActorExited):
                await bank["a"].call(Account.break_after, 1)

            # What was not saved yet is lost with the activation; that is the bargain.
            assert 5 == await bank["a"].call(Account.balance)

    run_virtual(main)


async def test_snapshots_are_saved_when_the_kind_ends(url: str) -> None:
    bank = bank_of(url, durability="snapshot", snapshot_every=3_600.0)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
    async with kb.Supervisor(bank.child()):
        assert 5 == await bank["a"].call(Account.balance)


async def test_a_memory_kind_is_never_saved(url: str) -> None:
    bank = bank_of(url, durability="memory")
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.deposit, 5)
        assert 5 == await bank["a"].call(Account.balance)
    async with kb.Supervisor(bank.child()):
        assert 0 == await bank["a"].call(Account.balance)


async def test_a_named_actor_is_started_with_its_kind(store: str) -> None:
    started = asyncio.Event()

    class Clerk(kb.DurableActor[Balance]):
        def on_start(self) -> None:
            started.set()

    clerk = kb.durable(Clerk, store=store, name="the clerk")
    async with kb.Supervisor(clerk.child()):
        await started.wait()


async def test_a_durable_actor_can_be_monitored_and_its_crash_is_seen(store: str) -> None:
    bank = bank_of(store)
    down: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    class Watcher(kb.Actor):
        @kb.message
        async def watch(self) -> None:
            kb.monitor(await bank["a"].awake())

        def on_down(self, found: kb.Down) -> None:
            down.set_result(found.reason)

    async with kb.Supervisor(bank.child(), kb.child(Watcher)) as tree:
        await tree.ref(Watcher, "Watcher").call(Watcher.watch)
        with pytest.raises(kb.ActorExited):
            await bank["a"].call(Account.break_after, 1)

        assert isinstance(await down, kb.Crashed)


async def test_a_durable_actor_can_be_linked_and_an_exit_goes_both_ways(store: str) -> None:
    bank = bank_of(store)
    heard: asyncio.Queue[object] = asyncio.Queue()

    class Partner(kb.Actor):
        def on_start(self) -> None:
            self.trap_exits()

        @kb.message
        async def tie(self, key: str) -> None:
            kb.link(await bank[key].awake())

        def on_exit(self, exit: kb.Exit) -> None:
            heard.put_nowait(exit.reason)

    async with kb.Supervisor(bank.child(), kb.child(Partner)) as tree:
        partner = tree.ref(Partner, "Partner")
        await bank["a"].call(Account.deposit, 5)
        await partner.call(Partner.tie, "a")
        with pytest.raises(kb.ActorExited):
            await bank["a"].call(Account.break_after, 1)
        assert isinstance(await heard.get(), kb.Crashed)

        await partner.call(Partner.tie, "a")
        activation = await bank["a"].awake()
        partner.kill()
        assert isinstance(await activation.wait_exit(), kb.Killed)
        # The next message wakes it, with what was committed.
        assert 5 == await bank["a"].call(Account.balance)


async def test_two_kinds_may_share_a_store_and_one_may_not_run_twice(store: str) -> None:
    bank = bank_of(store)
    other = bank_of(store, type="Other")
    async with kb.Supervisor(bank.child(), other.child()):
        await bank["a"].call(Account.deposit, 5)

        assert 0 == await other["a"].call(Account.balance)
        with pytest.raises(kb.StartError):
            async with kb.Supervisor(bank.child()):
                pass
        assert 5 == await bank["a"].call(Account.balance)


async def test_a_kind_that_is_killed_is_restarted_and_goes_on(url: str) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()) as tree:
        await bank["a"].call(Account.deposit, 5)
        kind = bank._definition.live
        assert kind is not None
        kind.me.kill()
        await kind.me.wait_exit()
        await tree.wait_ready()

        assert bank._definition.live not in (None, kind)
        assert 6 == await bank["a"].call(Account.deposit, 1)
