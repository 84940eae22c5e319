"""Sagas that only wait leave memory, and go on by their event or their time as if they had been there."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from tests.durable.changes import until
from tests.durable.kept import KeptStore
from tests.durable.sagas.lives import do, undo, within, world

import koboshi as kb

LONG = 300.0


async def asleep(sagas: kb.Sagas[Any, Any]) -> None:
    """Wait until none of them is in memory."""
    await until(lambda: not sagas.statistics().active, sagas)


class Parcel(kb.Saga[float, str]):
    async def run(self, timeout: float) -> str:
        await self.step("pack", do, f"pack {self.id}", undo=undo)
        number = self.random()
        try:
            how = await self.wait_event("collected", str, timeout=timeout)
        except kb.EventTimeout:
            how = "forgotten"
        assert number == self.random() or number != 0
        await self.sleep(LONG)
        return await self.step("send", do, f"{how} {self.id}")


def parcels(store: KeptStore, **options: Any) -> kb.Sagas[float, str]:
    return kb.sagas(Parcel, store=store, **{"deactivate_after": 10.0, **options})


@pytest.mark.slow
def test_a_saga_that_waits_leaves_memory_and_goes_on_by_its_event_or_its_time(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[float, str]) -> tuple[str, str]:
        taken, left = [await sagas.start(LONG, id=each) for each in ("taken", "left")]
        assert 2 == sagas.statistics().active
        await asleep(sagas)
        assert ["left", "taken"] == await sagas.alive()
        status = await taken.status()
        assert ("running", ("event collected",)) == (status.status, status.waiting)
        assert await taken.signal("collected", "taken")
        await asleep(sagas)
        assert ("sleep ",) == (await taken.status()).waiting
        await asyncio.sleep(LONG)
        await asleep(sagas)
        found = await taken.result(), await left.result()
        await asleep(sagas)
        return found

    assert ("taken taken", "forgotten left") == within(lambda: parcels(store), work)
    assert ["pack taken", "pack left", "taken taken", "forgotten left"] == world
    for table in ("kb_timer", "kb_tag", "kb_journal", "kb_outbox"):
        assert [] == store.rows(f"SELECT * FROM {table}")


def test_nobody_looks_for_those_at_rest_and_those_without_a_time_have_no_row_but_their_own(
    store: KeptStore,
) -> None:
    class Waiting(kb.Saga[float | None, None]):
        async def run(self, timeout: float | None) -> None:
            await self.wait_event("never", timeout=timeout)

    async def work(sagas: kb.Sagas[float | None, None]) -> Any:
        await sagas.start(None, id="for ever")
        await sagas.start(LONG, id="a while")
        await asleep(sagas)
        woken = sagas.statistics().activated
        await asyncio.sleep(LONG / 2)
        assert woken == sagas.statistics().activated

    within(lambda: kb.sagas(Waiting, store=store, deactivate_after=10.0), work)
    assert [("waiting",), ("waiting",)] == store.rows("SELECT tag_value FROM kb_tag")
    assert [("a while",)] == store.rows("SELECT actor_key FROM kb_timer")
    assert [(None,), (None,)] == store.rows("SELECT owner FROM kb_actor")


class Errand(kb.Saga[None, str]):
    async def run(self, value: None) -> str:
        await self.step("begin", do, f"begin {self.id}")
        try:
            how = await self.wait_event("go on", str, timeout=LONG)
        except kb.EventTimeout:
            how = "late"
        return await self.step("end", do, f"{how} {self.id}")


@pytest.mark.slow
def test_hundreds_wait_with_few_in_memory_and_each_goes_on_once(store: KeptStore) -> None:
    count, most = 400, 16
    awake: list[int] = []

    async def work(sagas: kb.Sagas[None, str]) -> None:
        refs = []
        for number in range(count):
            refs.append(await sagas.start(None, id=f"{number:03}"))
            awake.append(sagas.statistics().active)
        for ref in refs[::2]:
            assert await ref.signal("go on", "told")
            awake.append(sagas.statistics().active)
        while await sagas.alive(limit=1):
            await asyncio.sleep(1.0)
            awake.append(sagas.statistics().active)

    within(lambda: kb.sagas(Errand, store=store, max_active=most), work)
    expected = [f"begin {number:03}" for number in range(count)]
    expected += [f"{'late' if number % 2 else 'told'} {number:03}" for number in range(count)]
    assert sorted(expected) == sorted(world)
    assert max(awake) <= most + 1
    assert [] == store.rows("SELECT * FROM kb_timer")


@pytest.mark.slow
def test_one_that_is_about_to_sleep_takes_an_event_that_comes_at_any_moment_of_that(store: KeptStore) -> None:
    moments = 40

    async def work(sagas: kb.Sagas[None, str]) -> set[int]:
        activated = set()
        for moment in range(moments):
            ref = await sagas.start(None, id=f"{moment}")
            await asyncio.sleep(0.1)
            before = sagas.statistics().activated
            other = asyncio.ensure_future(sagas.start(None, id=f"other {moment}"))  # there is room for one
            for _ in range(moment):
                await asyncio.sleep(0)
            assert await ref.signal("go on", "told")
            assert f"told {moment}" == await ref.result(1.0)
            await other
            activated.add(sagas.statistics().activated - before)
        return activated

    # Some are awake still, and some are woken.
    assert {1, 2} <= within(lambda: kb.sagas(Errand, store=store, max_active=1), work)
    told = [each for each in world if each.startswith("told")]
    assert [f"told {moment}" for moment in range(moments)] == told


class Answers(kb.Saga[None, list[str]]):
    async def run(self, value: None) -> list[str]:
        found = []
        for _ in range(2):
            try:
                found.append(await self.wait_event("answer", str, timeout=LONG))
            except kb.EventTimeout:
                found.append("none")
        await self.step("done", do, "done")
        return found


@pytest.mark.slow
def test_an_event_that_comes_with_the_timeout_is_taken_once_or_by_the_next_wait(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[None, list[str]]) -> list[list[str]]:
        loop, found = asyncio.get_running_loop(), []
        for moment in range(40):
            ref = await sagas.start(None, id=f"{moment}")
            began = loop.time()
            await asleep(sagas)
            # From a little before to a little after the look that wakes it.
            await asyncio.sleep(began + LONG - loop.time() + (moment - 10) * 0.0005)
            assert await ref.signal("answer", "yes")
            found.append(await ref.result())
        return found

    found = within(lambda: kb.sagas(Answers, store=store, deactivate_after=10.0), work)
    assert {("none", "yes"), ("yes", "none")} == {tuple(each) for each in found}
    assert ["done"] * 40 == world


class Careful(kb.Saga[None, str]):
    async def run(self, value: None) -> str:
        try:
            await self.step("first", do, "first", undo=undo)
            await self.wait_event("go on")
        except BaseException as error:
            world.append(type(error).__name__)
            await self.step("mend", do, "mended")
            raise
        finally:
            world.append("finally")
            await self.step("last", do, "last")
        return "done"


class Stubborn(kb.Saga[None, str]):
    async def run(self, value: None) -> str:
        try:
            await self.wait_event("go on")
        except BaseException:
            raise ValueError("this is no failure of the saga") from None
        return "done"


@pytest.mark.parametrize(
    ("cls", "seen"),
    [
        (Careful, ["first", "CancelledError", "finally", "finally", "last"]),
        (Stubborn, []),
    ],
)
def test_what_run_makes_of_its_end_in_memory_is_not_recorded(
    store: KeptStore, cls: type[kb.Saga[None, str]], seen: list[str]
) -> None:
    async def work(sagas: kb.Sagas[None, str]) -> str:
        ref = await sagas.start(None, id="a")
        await asleep(sagas)
        assert "running" == (await ref.status()).status
        assert await ref.signal("go on")
        return await ref.result(10.0)

    assert "done" == within(lambda: kb.sagas(cls, store=store, deactivate_after=10.0), work)
    assert seen == world


def test_a_branch_with_work_of_its_own_keeps_its_saga_in_memory(store: KeptStore) -> None:
    class Branching(kb.Saga[None, list[str]]):
        async def run(self, value: None) -> list[str]:
            return list(await asyncio.gather(self.nested(), self.step("quick", do, "quick")))

        async def nested(self) -> str:
            await self.step("prepare", do, "prepare")
            await asyncio.sleep(4.0)  # no operation of the saga
            first, _ = await asyncio.gather(self.wait_event("first", str), self.wait_event("second"))
            return str(first)

    async def work(sagas: kb.Sagas[None, list[str]]) -> list[str]:
        ref = await sagas.start(None, id="a")
        await asyncio.sleep(3.5)
        assert 1 == sagas.statistics().active
        await asleep(sagas)
        # The work of its own is done once more, as after any end of the program.
        assert await ref.signal("first", "one")
        assert await ref.signal("second")
        return await ref.result()

    assert ["one", "quick"] == within(lambda: kb.sagas(Branching, store=store, deactivate_after=1.0), work)
    assert ["prepare", "quick"] == sorted(world)


async def flaky(times: int) -> str:
    world.append("try")
    if len(world) < times:
        raise OSError("not yet")
    return "done"


async def unable(result: str) -> None:
    world.append("unable")
    if world.count("unable") < 4:
        raise OSError("not yet")


class Retried(kb.Saga[str, str]):
    async def run(self, how: str) -> str:
        slow = kb.Backoff(LONG, LONG, 1.0, 0.0)
        done = await self.step("flaky", flaky, 3, retries=3, backoff=slow, undo=unable)
        if how == "bad":
            raise ValueError(how)
        return done


@pytest.mark.slow
def test_the_next_attempt_of_a_step_and_of_a_compensation_is_waited_for_asleep(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[str, str]) -> None:
        ref = await sagas.start("bad", id="a")
        for tries in range(1, 3):
            await asleep(sagas)
            assert ["try"] * tries == world
            await asyncio.sleep(LONG)
        for tries in range(1, 3):
            await asleep(sagas)
            assert tries == world.count("unable")
            await asyncio.sleep(LONG)
        await asleep(sagas)
        assert "dead" == (await ref.status()).status
        assert ["a"] == await sagas.dead()
        assert await ref.retry()
        with pytest.raises(kb.SagaFailed, match="ValueError: bad"):
            while True:
                try:
                    await ref.result()
                except kb.SagaFailed as failed:
                    if failed.undone:
                        raise
                await asyncio.sleep(1)

    slow = kb.Backoff(LONG, LONG, 1.0, 0.0)
    make = functools.partial(
        kb.sagas, Retried, store=store, deactivate_after=10.0, undo_retries=2, undo_backoff=slow
    )
    within(make, work)
    assert ["try"] * 3 + ["unable"] * 4 == world


def test_a_saga_cancelled_in_its_sleep_is_undone(store: KeptStore) -> None:
    async def work(sagas: kb.Sagas[float, str]) -> None:
        ref = await sagas.start(LONG, id="a")
        await asleep(sagas)
        assert await ref.cancel()
        with pytest.raises(kb.SagaCancelled):
            await ref.result(10.0)

    within(lambda: parcels(store), work)
    assert ["pack a", "no pack a"] == world
    assert [] == store.rows("SELECT * FROM kb_timer")


def test_a_saga_that_was_changed_in_its_sleep_is_parked_and_goes_on_with_its_own_code(
    store: KeptStore,
) -> None:
    class Renamed(Parcel):
        async def run(self, timeout: float) -> str:
            await self.step("wrap", do, f"wrap {self.id}", undo=undo)
            return await super().run(timeout)

    async def first(sagas: kb.Sagas[float, str]) -> None:
        await sagas.start(LONG, id="a")
        await asleep(sagas)

    async def second(sagas: kb.Sagas[float, str]) -> None:
        await asyncio.sleep(2 * LONG)
        status = await sagas["a"].status()
        assert isinstance(status.parked, kb.SagaChanged)
        assert ("'step pack'", "step wrap") == (f"{status.parked.expected!r}", status.parked.found)

    async def third(sagas: kb.Sagas[float, str]) -> str:
        return await sagas["a"].result(2 * LONG)

    within(lambda: parcels(store), first)
    within(lambda: kb.sagas(Renamed, store=store, type="Parcel", deactivate_after=10.0), second)
    assert ["pack a"] == world
    assert "forgotten a" == within(lambda: parcels(store), third)
    assert ["pack a", "forgotten a"] == world


def test_what_waits_asleep_over_the_end_of_its_program_goes_on_in_the_next_one(store: KeptStore) -> None:
    async def first(sagas: kb.Sagas[float, str]) -> None:
        await sagas.start(LONG, id="a")
        await sagas.start(LONG * 9, id="b")
        await asleep(sagas)

    async def second(sagas: kb.Sagas[float, str]) -> str:
        await asyncio.sleep(30.0)
        assert 1 == sagas.statistics().activated  # the one whose time has come meanwhile
        return await sagas["a"].result(2 * LONG)

    within(lambda: parcels(store), first)
    store.offset += 2 * LONG
    assert "forgotten a" == within(lambda: parcels(store), second)
