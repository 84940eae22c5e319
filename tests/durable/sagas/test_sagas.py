"""Sagas in virtual time: what steps and waits do, over restarts."""

from __future__ import annotations

import asyncio
import datetime
import functools
from typing import Any, ClassVar

import msgspec
import pytest
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import after, within, world
from tests.virtual import run_virtual

import koboshi as kb
from koboshi.durable.stores._tables import ACTOR

SLOW = kb.Backoff(10.0, 1_000.0, 2.0, 0.0)


class Declined(Exception):
    """An answer that `run` knows."""


class Paid(msgspec.Struct, frozen=True):
    cents: int


async def pay(cents: int) -> Paid:
    world.append(kb.step_key())
    return Paid(cents)


class Paying(kb.Saga[int, Paid]):
    async def run(self, cents: int) -> Paid:
        paid = await self.step("pay", pay, cents)
        assert isinstance(paid, Paid)
        return paid


def test_a_result_has_its_type_and_an_id_is_started_once(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[int, Paid]) -> Any:
        first = await sagas.start(5, id="a")
        second = await sagas.start(5, id="a")
        assert Paid(5) == await first.result(1.0)
        return await second.result(1.0)

    assert Paid(5) == within(lambda: kb.sagas(Paying, store=store), work)
    assert ["default/Paying/a/step pay"] == world


class Weighing(kb.Saga[dict[str, float], str]):
    async def run(self, weights: dict[str, float]) -> str:
        await self.wait_event("go")
        return ", ".join(weights)


def test_an_id_that_comes_with_another_input_is_refused_also_after_the_end(store: KeptStore) -> None:
    async def refused(sagas: kb.Sagas[dict[str, float], str]) -> None:
        again = await sagas.start(
            {"pear": 2, "apple": 1}, id="a"
        )  # the same: no order, and numbers as declared
        with pytest.raises(kb.RequestMismatch) as caught:
            await sagas.start({"apple": 1.5, "pear": 2.0}, id="a")
        assert (
            "the saga Weighing/a was started with another input, which stays as it is; give each start an id of its "
            "own, or take the one that there is: sagas['a']"
        ) == str(caught.value)
        assert ("Weighing/a", "a") == (caught.value.actor, caught.value.request)
        assert "a" == again.id

    async def first(sagas: kb.Sagas[dict[str, float], str]) -> None:
        await sagas.start({"apple": 1.0, "pear": 2.0}, id="a")
        await refused(sagas)

    async def second(sagas: kb.Sagas[dict[str, float], str]) -> None:
        await refused(sagas)
        await sagas["a"].signal("go")
        assert "apple, pear" == await sagas["a"].result(1.0)
        await refused(sagas)

    for life in (first, second, refused):
        within(lambda: kb.sagas(Weighing, store=store), life)


def test_a_saga_that_was_started_before_inputs_were_kept_is_compared_with_nothing(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[int, Paid]) -> None:
        definition, who = sagas._actors._definition, sagas._actors["old"].who
        blob = msgspec.msgpack.encode(["finished", 0, msgspec.msgpack.encode({"cents": 3}), None, None])
        stored = definition.stored(definition.sealer, who, 1, blob)
        columns = ("state", "state_revision", "codec", "key_id", "schema_version")
        names = ("system_name", "actor_type", "actor_key", "epoch", "revision", *columns, "updated_at")
        row = (*who, 1, 1, *stored, 0.0)
        await definition.running("a test").store.change(lambda session: session.insert(ACTOR, names, [row]))

        assert Paid(3) == await (await sagas.start(5, id="old")).result(1.0)

    within(lambda: kb.sagas(Paying, store=store), first)


def test_the_result_is_there_after_a_restart_and_nothing_is_run_again(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[int, Paid]) -> None:
        await (await sagas.start(5, id="a")).result(1.0)

    async def second(sagas: kb.Sagas[int, Paid]) -> Any:
        return await sagas["a"].result(1.0), (await sagas["a"].status()).status, await sagas.alive()

    within(lambda: kb.sagas(Paying, store=store), first)
    assert (Paid(5), "finished", []) == within(lambda: kb.sagas(Paying, store=store), second)
    assert 1 == len(world)
    assert [] == store.rows("SELECT * FROM kb_journal")


async def flaky(times: int) -> str:
    world.append("try")
    if len(world) < times:
        raise OSError("not yet")
    return "done"


class Retrying(kb.Saga[int, str]):
    async def run(self, times: int) -> str:
        return await self.step("flaky", flaky, times, retries=3, backoff=SLOW)


def test_a_retry_waits_for_its_backoff_over_a_restart(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[int, str]) -> None:
        await sagas.start(3, id="a")
        await asyncio.sleep(1)

    async def second(sagas: kb.Sagas[int, str]) -> float:
        began = asyncio.get_running_loop().time()
        assert "done" == await sagas["a"].result()
        return asyncio.get_running_loop().time() - began

    within(lambda: kb.sagas(Retrying, store=store), first)
    assert ["try"] == world
    store.offset += 4.0
    # 10 s after the first attempt, of which 5 are over, and 20 s after the second one.
    assert 25.0 == pytest.approx(within(lambda: kb.sagas(Retrying, store=store), second), abs=1.0)


def test_a_step_that_fails_too_often_fails_the_saga(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[int, str]) -> Any:
        with pytest.raises(kb.SagaFailed, match="StepFailed: the step 'flaky' failed with OSError: not yet"):
            await (await sagas.start(99, id="a")).result()

    within(lambda: kb.sagas(Retrying, store=store), work)
    assert ["try"] * 4 == world


async def decline(why: str, times: int) -> None:
    world.append("decline")
    raise Declined(why, times)


class Deciding(kb.Saga[str, str]):
    errors = (Declined,)

    async def run(self, why: str) -> str:
        try:
            await self.step("decline", decline, why, 2, retries=5)
        except Declined as declined:
            answer = f"{declined.args}"
        await self.wait_event("go on")
        return answer


def test_a_declared_error_comes_as_itself_and_is_not_retried_also_after_a_restart(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[str, str]) -> None:
        await sagas.start("poor", id="a")
        await asyncio.sleep(1)

    async def second(sagas: kb.Sagas[str, str]) -> str:
        await sagas["a"].signal("go on")
        return await sagas["a"].result(5.0)

    within(lambda: kb.sagas(Deciding, store=store), first)
    assert "('poor', 2)" == within(lambda: kb.sagas(Deciding, store=store), second)
    assert ["decline"] == world


class Waiting(kb.Saga[float, list[Any]]):
    async def run(self, timeout: float) -> list[Any]:
        found: list[Any] = []
        for _ in range(2):
            try:
                found.append(await self.wait_event("paid", Paid, timeout=timeout))
            except kb.EventTimeout:
                found.append("too late")
        return [str(each) for each in found]


def test_events_are_taken_once_and_in_order_whenever_they_came(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[float, list[Any]]) -> list[Any]:
        ref = await sagas.start(100.0, id="a")
        assert await ref.signal("paid", Paid(1), id="one")
        assert await ref.signal("paid", Paid(1), id="one")  # the same once more
        assert await ref.signal("paid", Paid(2))
        found = await ref.result()
        assert not await ref.signal("paid", Paid(3))
        return found

    assert ["Paid(cents=1)", "Paid(cents=2)"] == within(lambda: kb.sagas(Waiting, store=store), work)


class Careful(kb.Saga[None, str]):
    async def run(self, _: None) -> str:
        try:
            await self.wait_event("paid", Paid)
        except msgspec.ValidationError as misfit:
            after_it = await self.wait_event("paid", Paid)
            return f"{misfit}, then {after_it}"
        return "it fitted"


def test_an_event_of_another_type_is_named_and_the_wait_can_be_repeated(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[None, str]) -> str:
        ref = await sagas.start(None, id="a")
        await ref.signal("paid", "five")
        await ref.signal("paid", Paid(5))
        return await ref.result(5.0)

    assert (
        "the event 'paid' of Careful/a was sent as something that is no Paid: Expected `object`, got `str`; "
        "send a Paid, or catch this error and wait again, then Paid(cents=5)"
    ) == within(lambda: kb.sagas(Careful, store=store), work)


class Declared(kb.Saga[None, str]):
    events: ClassVar[dict[str, Any]] = {"paid": Paid, "note": None | str}

    async def run(self, _: None) -> str:
        await self.step("book", undoable, undo=undoable)
        note = await self.wait_event("note")
        return f"{note}, {await self.wait_event('paid')}"


async def undoable(*_: Any) -> None:
    world.append("step")


def test_an_event_that_is_declared_is_refused_where_it_is_sent_and_its_saga_does_not_hear_of_it(
    store: KeptStore,
) -> None:
    async def work(sagas: kb.Sagas[None, str]) -> str:
        ref = await sagas.start(None, id="a")
        with pytest.raises(
            kb.UsageError, match=r"the event 'paid' of Declared/a does not fit Paid: .*nothing was recorded"
        ):
            await ref.signal("paid", "five")
        with pytest.raises(kb.UsageError, match="Declared takes the events 'paid', 'note', got 'payed'"):
            await ref.signal("payed", Paid(5))
        with pytest.raises(kb.UsageError, match="the event 'paid' cannot be stored"):
            await ref.signal("paid", object())
        with pytest.raises(kb.UsageError, match="the event 'paid' cannot be stored: can't serialize ints"):
            await ref.signal("paid", 2**70)
        await ref.signal("note")
        await ref.signal("paid", Paid(5))
        return await ref.result(5.0)

    assert "None, Paid(cents=5)" == within(lambda: kb.sagas(Declared, store=store), work)
    assert ["step"] == world


def test_an_input_beyond_what_can_be_stored_is_refused(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[float, list[Any]]) -> None:
        with pytest.raises(kb.UsageError, match=r"is no input of Waiting: can't serialize ints"):
            await sagas.start(2**70)

    within(lambda: kb.sagas(Waiting, store=store), work)


def test_waiting_for_what_is_not_declared_is_a_mistake(store: KeptStore) -> None:
    class Otherwise(Declared):
        async def run(self, _: None) -> str:
            with pytest.raises(kb.UsageError, match="takes the events 'paid', 'note', got 'payed'"):
                await self.wait_event("payed")
            with pytest.raises(kb.UsageError, match="declares the event 'paid' as Paid, and waits for int"):
                await self.wait_event("paid", int)
            return "done"

    async def work(sagas: kb.Sagas[None, str]) -> str:
        return await (await sagas.start(None)).result(5.0)

    assert "done" == within(lambda: kb.sagas(Otherwise, store=store), work)
    Otherwise.events = {"paid": list[int] | set[int]}
    with pytest.raises(kb.UsageError, match="cannot be stored"):
        kb.sagas(Otherwise, store=store)


def test_the_timeout_of_an_event_goes_on_while_the_program_is_down(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[float, list[Any]]) -> None:
        await sagas.start(100.0, id="a")
        await asyncio.sleep(10)

    async def second(sagas: kb.Sagas[float, list[Any]]) -> Any:
        began = asyncio.get_running_loop().time()
        return await sagas["a"].result(), asyncio.get_running_loop().time() - began

    within(lambda: kb.sagas(Waiting, store=store), first)
    store.offset += 50.0
    found, took = within(lambda: kb.sagas(Waiting, store=store), second)
    assert ["too late", "too late"] == found
    # 40 s of the first wait were left, then 100 s more.
    assert 140.0 == pytest.approx(took, abs=1.0)


def test_what_is_asked_of_nobody_is_refused_and_leaves_nothing(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[float, list[Any]]) -> Any:
        b = sagas["b"]
        for ask in (b.signal("x"), b.signal("x", id="1"), b.cancel(), b.retry(), b.result(), b.status()):
            with pytest.raises(kb.UnknownSaga):
                await ask
        # One that was woken for that would be held, and could not be started by another program.
        assert 0 == sagas.statistics().active
        assert [] == store.rows("SELECT actor_key FROM kb_actor")

    within(lambda: kb.sagas(Waiting, store=store), work)


class Recalling(kb.Saga[str, list[str]]):
    async def run(self, name: str) -> list[str]:
        values = [str(self.now()), str(self.random()), str(self.uuid()), str(self.uuid())]
        world.append(values)
        await self.sleep(50.0)
        return values


def test_what_differs_from_run_to_run_is_recorded(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[str, list[str]]) -> None:
        await sagas.start("x", id="a")
        await asyncio.sleep(10)

    async def second(sagas: kb.Sagas[str, list[str]]) -> list[str]:
        return await sagas["a"].result()

    within(lambda: kb.sagas(Recalling, store=store), first)
    store.offset += 1_000.0
    values = within(lambda: kb.sagas(Recalling, store=store), second)
    assert [values, values] == world
    assert datetime.datetime.fromisoformat(values[0]).tzinfo is not None
    assert 4 == len(set(values))


class OnceOnly(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        try:
            return await self.step("a", after, 10.0, "a", at_most_once=True)
        except kb.OutcomeUnknown as unknown:
            return f"unknown: {isinstance(unknown, kb.StepOutcomeUnknown)}"


def test_a_step_that_runs_at_most_once_is_unknown_after_a_restart(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[str, str]) -> None:
        await sagas.start("x", id="x")
        await asyncio.sleep(5.0)

    async def second(sagas: kb.Sagas[str, str]) -> str:
        return await sagas["x"].result(100.0)

    within(lambda: kb.sagas(OnceOnly, store=store), first)
    assert "unknown: True" == within(lambda: kb.sagas(OnceOnly, store=store), second)
    assert [] == world


class Hurried(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        try:
            return await self.step("a", after, 10.0, "a", timeout=2.0)
        except kb.StepTimeout as late:
            return late.step


def test_a_step_that_takes_too_long_is_ended(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[str, str]) -> str:
        return await (await sagas.start("x")).result(3.0)

    assert "a" == within(lambda: kb.sagas(Hurried, store=store), work)
    assert [] == world


class Balance(msgspec.Struct):
    cents: int = 0


class Account(kb.DurableActor[Balance]):
    @kb.message
    def deposit(self, cents: int) -> Balance:
        self.state.cents += cents
        world.append(cents)
        return self.state


class Depositing(kb.Saga[int, int]):
    def __init__(self, accounts: kb.Durable[Account]) -> None:
        self._accounts = accounts

    async def run(self, cents: int) -> int:
        step = kb.exactly_once(self._accounts["alice"], Account.deposit)
        balance = await self.step("deposit", step, cents)
        assert isinstance(balance, Balance)
        return balance.cents


def test_a_call_of_a_durable_actor_as_a_step_is_handled_once(store: KeptStore) -> None:
    async def main() -> None:
        accounts = kb.durable(Account, store=store)
        sagas = kb.sagas(functools.partial(Depositing, accounts), store=store)
        async with kb.Supervisor(accounts.child(), sagas.child()):
            assert 5 == await (await sagas.start(5, id="x")).result(5.0)
            # What a second run of the same step would send.
            [(request,)] = store.rows("SELECT request_id FROM kb_request")
            assert Balance(5) == await accounts["alice"].request(request).call(Account.deposit, 5)

    run_virtual(main)
    assert [5] == world


def test_what_is_no_saga_is_refused(store: KeptStore) -> None:
    class NoTypes(kb.Saga):
        async def run(self, value: Any) -> None: ...

    untyped: Any = NoTypes
    wrong: Any = Account
    for each in (untyped, wrong):
        with pytest.raises(kb.UsageError):
            kb.sagas(each, store=store)
    with pytest.raises(kb.UsageError, match="start one"):
        Paying().now()
    with pytest.raises(kb.UsageError, match="step"):
        kb.step_key()


def leave() -> None:
    raise SystemExit(3)


async def stop() -> None:
    raise kb.Stop


class Leaving(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        try:
            await self.step("end", leave if how == "leave" else stop)
        except kb.StepFailed as failed:
            return failed.error_type
        return "went on"


def test_a_step_that_wants_to_end_its_process_or_the_program_has_failed(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[str, str]) -> list[str]:
        return [await (await sagas.start(how)).result(5.0) for how in ("leave", "stop")]

    assert ["SystemExit", "Stop"] == within(lambda: kb.sagas(Leaving, store=store), work)
