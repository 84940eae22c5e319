"""Calls while a kind is between two starts, and messages of an activation that takes long to end."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.durable.changes import delivered, until

import koboshi as kb
from koboshi.durable.actors._codec import arguments_of
from koboshi.durable.actors._kind import Kind
from koboshi.durable.actors._letter import put_source
from koboshi.durable.stores import MemoryEngine
from koboshi.otp import introspection

from .accounts import Account, bank_of
from .test_fence import change


def kind_of(kind: kb.Durable[Any]) -> Kind:
    live = kind._definition.live
    assert live is not None
    return live


async def test_a_call_waits_for_a_kind_that_its_supervisor_starts_again(store: str) -> None:
    bank = bank_of(store)

    async with kb.Supervisor(bank.child(), backoff=(0.2, 0.2)):
        await bank["a"].call(Account.deposit, 5)
        me = kind_of(bank).me
        me.kill()
        await me.wait_exit()
        assert bank._definition.live is None

        assert [0, 0] == await asyncio.gather(*(bank[key].call(Account.balance) for key in "bc"))
        await bank["a"].put(Account.deposit, 1)


async def test_a_call_that_waits_for_its_actor_when_the_kind_is_killed_is_sent_again(url: str) -> None:
    bank = bank_of(url)

    async with kb.Supervisor(bank.child()):
        kind = kind_of(bank)
        calls = [asyncio.ensure_future(bank[key].call(Account.deposit, 5)) for key in "abc"]
        await asyncio.sleep(0)  # they are sent; what the store has to say comes in a later tick
        assert 3 == kind.statistics().activating
        kind.me.kill()

        assert [5, 5, 5] == await asyncio.gather(*calls)
        assert kind_of(bank) is not kind


async def test_a_killed_kind_looks_for_nothing_any_more(url: str) -> None:
    bank = bank_of(url)
    spec = bank.child().options(restart="temporary")

    async with kb.Supervisor(spec):
        kind = kind_of(bank)
        kind.me.kill()
        await kind.me.wait_exit()
        assert kind.deliveries._timer is None
        assert kind.deliveries._timers._ended


class SlowToClose(MemoryEngine):
    """Takes its time to close, as a disk does."""

    closed = False

    async def close(self) -> None:
        await asyncio.to_thread(threading.Event().wait, 0.05)
        await super().close()
        self.closed = True


async def test_the_store_of_a_killed_kind_is_closed_when_its_tree_has_ended() -> None:
    engine = SlowToClose("slow-to-close")
    bank = bank_of(lambda: engine)

    async with kb.Supervisor(bank.child().options(restart="temporary")):
        me = kind_of(bank).me
        me.kill()
        await me.wait_exit()

    assert engine.closed


async def test_a_call_to_a_kind_that_never_comes_back_says_so_after_a_bounded_time() -> None:
    bank = bank_of("memory://never-back")

    async with kb.Supervisor(bank.child().options(restart="temporary")):
        me = kind_of(bank).me
        me.kill()
        await me.wait_exit()
        began = asyncio.get_running_loop().time()
        with pytest.raises(kb.NotRunning, match="durable Account"):
            await bank["a"].within(0.2).call(Account.balance)

        assert 0.15 < asyncio.get_running_loop().time() - began < 2.0


async def test_a_call_to_a_kind_that_was_never_started_or_whose_tree_has_ended_fails_at_once() -> None:
    bank = bank_of("memory://at-once")
    began = asyncio.get_running_loop().time()
    with pytest.raises(kb.NotRunning, match="put its child"):
        await bank["a"].call(Account.balance)
    async with kb.Supervisor(bank.child()):
        await bank["a"].call(Account.balance)
    with pytest.raises(kb.NotRunning, match="put its child"):
        await bank["a"].call(Account.balance)

    assert asyncio.get_running_loop().time() - began < 2.0


async def test_a_sibling_that_calls_while_their_tree_ends_is_told_at_once() -> None:
    bank = bank_of("memory://sibling")
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    class Last(kb.Actor):
        async def on_stop(self, reason: kb.ExitReason) -> None:
            try:
                await bank["a"].call(Account.balance)
            except kb.NotRunning as error:
                told.set_result(error)

    began = asyncio.get_running_loop().time()
    # Children end in reverse order, so the kind is gone when the other one calls.
    async with kb.Supervisor(kb.child(Last), bank.child()):
        pass

    assert isinstance(await told, kb.NotRunning)
    assert asyncio.get_running_loop().time() - began < 2.0


class Slow(kb.DurableActor[list[str]]):
    """Takes its time to end."""

    may_end: ClassVar[asyncio.Event]

    @kb.message
    def read(self, text: str) -> None:
        self.state = [*self.state, text]

    @kb.query
    def seen(self) -> list[str]:
        return self.state

    async def on_stop(self, reason: kb.ExitReason) -> None:
        await self.may_end.wait()


class Sender(kb.DurableActor[int]):
    readers: ClassVar[kb.Durable[Slow]]

    @kb.message
    def write(self, text: str) -> None:
        self.send(self.readers["r"], Slow.read, text)


async def test_nothing_newer_passes_what_a_lost_activation_has_left_while_it_ends(
    url: str, file: Path
) -> None:
    Slow.may_end = asyncio.Event()
    Sender.readers = readers = kb.durable(Slow, store=url)
    senders = kb.durable(Sender, store=url)

    async def seen(count: int) -> list[str]:
        async def enough() -> list[str] | None:
            found = await readers["r"].call(Slow.seen)
            return found if len(found) >= count else None

        return await until(enough, readers)

    async with kb.Supervisor(readers.child(), senders.child()):
        await senders["s"].call(Sender.write, "first")
        await seen(1)
        change(file, "UPDATE kb_actor SET token = x'00' WHERE actor_type = 'Slow'")
        await senders["s"].call(Sender.write, "second")
        await until(lambda: readers.statistics().lost, readers)
        # The activation that was lost has not ended; its successor has what it had, and then the rest.
        await senders["s"].call(Sender.write, "third")
        assert ["first", "second", "third"] == await seen(3)
        Slow.may_end.set()
        await senders["s"].call(Sender.write, "fourth")

        assert ["first", "second", "third", "fourth"] == await seen(4)
        assert 1 == readers.statistics().lost
        assert 0 == readers.statistics().dead_letters


def put_row(bank: Any, file: Path, request: str, cents: int) -> None:
    """What `put` writes, at a moment when the call with the same id has just been handled."""
    who, source = bank["a"].who, put_source(bank["a"].who, request)
    payload = arguments_of(Account.deposit).encode((cents,), {})
    blob, _ = bank._definition.sealer.seal(who, "message", f"{source}#0", payload)
    change(
        file,
        "INSERT INTO kb_outbox (system_name, source, seq, target_type, target_key, message, payload, codec, state,"
        " not_before, attempts) VALUES (?, ?, 0, ?, ?, 'deposit', ?, 'msgpack', 'ready', 0, 0)",
        *(who.system, source, who.type, who.key, blob),
    )


async def test_a_message_that_was_called_before_it_was_delivered_is_handled_once_and_leaves_the_outbox(
    url: str, file: Path
) -> None:
    bank = bank_of(url)
    async with kb.Supervisor(bank.child()):
        await bank["a"].request("x").call(Account.deposit, 5)
        put_row(bank, file, "x", 5)
        await delivered(bank)
        assert 5 == await bank["a"].call(Account.balance)
        await bank["a"].request("y").call(Account.deposit, 1)
    put_row(bank, file, "y", 1)

    # An activation that has not seen the call asks the store.
    async with kb.Supervisor(bank.child()):
        await delivered(bank)
        assert 6 == await bank["a"].call(Account.balance)
        assert 0 == bank.statistics().lost


async def test_an_actor_that_has_crashed_is_woken_before_its_kind_has_heard_of_the_end(store: str) -> None:
    bank = bank_of(store)
    async with kb.Supervisor(bank.child()):
        kind = kind_of(bank)
        for key in "ab":
            await bank[key].call(Account.deposit, 5)
        crashed = dict(kind.active)
        # The kind comes to nothing meanwhile, as on a loop that is busy.
        await introspection.suspend(kind.me)
        for key in "ab":
            with pytest.raises(kb.ActorExited):
                await bank[key].call(Account.break_after, 6)
        assert crashed == kind.active

        assert 5 == await bank["a"].call(Account.balance)
        bank["b"].cast(Account.deposit, 1)
        await until(lambda: kind.active["b"] is not crashed["b"], bank)
        await introspection.resume(kind.me)
        assert [6, 7] == [await bank[key].call(Account.deposit, 1) for key in "ab"]
