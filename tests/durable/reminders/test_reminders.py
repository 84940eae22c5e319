"""Reminders of durable actors: when they come, how often, and what becomes of those that were missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from tests.durable.kept import KeptStore
from tests.virtual import run_virtual

import koboshi as kb
from koboshi.durable.actors._reminder import Rule, rule_of


class Seen(msgspec.Struct):
    """What has come, with the time at which it came."""

    came: list[tuple[str, float]] = []


class Alarm(kb.DurableActor[Seen]):
    def __init__(self, store: KeptStore) -> None:
        self._store = store

    @kb.message
    def set(self, name: str, options: dict[str, Any]) -> None:
        self.remind(name, Alarm.ring, name, **options)

    @kb.message
    def unset(self, name: str) -> None:
        self.forget(name)

    @kb.message
    def set_and_refuse(self, name: str) -> None:
        self.remind(name, Alarm.ring, name, after=1)
        raise kb.Refused("no")

    @kb.message
    def ring(self, name: str) -> None:
        self.state.came.append((name, round(self._store.time() - self._store.offset, 3)))

    @kb.message
    def fail(self) -> None:
        raise ValueError("never")

    @kb.message
    def set_failing(self) -> None:
        self.remind("poison", Alarm.fail, after=1)

    @kb.message
    def wait_and_unset(self, name: str) -> None:
        self.forget(name)

    @kb.query
    def came(self) -> list[tuple[str, float]]:
        return self.state.came


@pytest.fixture
def store() -> Iterator[KeptStore]:
    made = KeptStore()
    yield made
    made.drop()


def kind(store: KeptStore, **options: Any) -> kb.Durable[Alarm]:
    return kb.durable(kb.child(Alarm, store), store=store, **options)


def test_a_reminder_comes_after_its_seconds_and_once(store: KeptStore) -> None:
    async def main() -> list[tuple[str, float]]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            began = asyncio.get_running_loop().time()
            await alarms["a"].call(Alarm.set, "tea", {"after": 180.0})
            await asyncio.sleep(1_000)
            came = await alarms["a"].call(Alarm.came)
            found = [(name, round(at - began, 1)) for name, at in came]
        return found

    assert [("tea", 180.0)] == run_virtual(main)
    assert [] == store.rows("SELECT * FROM kb_timer") + store.rows("SELECT * FROM kb_outbox")


def test_a_reminder_wakes_an_actor_that_sleeps(store: KeptStore) -> None:
    async def main() -> tuple[int, list[str]]:
        alarms = kind(store, deactivate_after=5.0)
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set, "tea", {"after": 60.0})
            await asyncio.sleep(30)
            asleep = alarms.statistics().active
            await asyncio.sleep(40)
            found = asleep, [name for name, _ in await alarms["a"].call(Alarm.came)]
        return found

    assert (0, ["tea"]) == run_virtual(main)


def test_a_reminder_every_so_often_stays_on_its_grid(store: KeptStore) -> None:
    async def main() -> list[float]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            began = asyncio.get_running_loop().time()
            await alarms["a"].call(Alarm.set, "beat", {"every": 7.0})
            await asyncio.sleep(30)
            await alarms["a"].call(Alarm.unset, "beat")
            await asyncio.sleep(30)
            found = [round(at - began, 1) for _, at in await alarms["a"].call(Alarm.came)]
        return found

    assert [7.0, 14.0, 21.0, 28.0] == run_virtual(main)


@pytest.mark.parametrize(("missed", "expected"), [("fire_all", 10), ("fire_once", 1), ("skip", 1)], ids=str)
def test_what_was_missed_while_the_program_was_down(store: KeptStore, missed: str, expected: int) -> None:
    async def first() -> None:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set, "beat", {"every": 60.0, "missed": missed})

    async def second() -> int:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            await asyncio.sleep(1)
            found = len(await alarms["a"].call(Alarm.came))
        return found

    run_virtual(first)
    # Ten of them: the last one is two seconds ago.
    store.offset += 602.0
    assert expected == run_virtual(second)


def test_a_reminder_at_a_time_that_was_missed_comes_late_unless_it_is_skipped(store: KeptStore) -> None:
    async def first() -> None:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            at = store.time() + 100
            await alarms["a"].call(Alarm.set, "late", {"at": at})
            await alarms["a"].call(Alarm.set, "skipped", {"at": at, "missed": "skip"})

    async def second() -> list[str]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            await asyncio.sleep(1)
            found = [name for name, _ in await alarms["a"].call(Alarm.came)]
        return found

    run_virtual(first)
    store.offset += 3_600
    assert ["late"] == run_virtual(second)
    assert [] == store.rows("SELECT * FROM kb_timer")


def test_what_a_refused_turn_has_set_is_not_set(store: KeptStore) -> None:
    async def main() -> list[Any]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            with pytest.raises(kb.Refused):
                await alarms["a"].call(Alarm.set_and_refuse, "x")
            await asyncio.sleep(10)
            found = await alarms["a"].call(Alarm.came)
        return found

    assert [] == run_virtual(main)


def test_setting_it_again_replaces_it(store: KeptStore) -> None:
    async def main() -> list[tuple[str, float]]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            began = asyncio.get_running_loop().time()
            await alarms["a"].call(Alarm.set, "tea", {"after": 10.0})
            await asyncio.sleep(5)
            await alarms["a"].call(Alarm.set, "tea", {"after": 10.0})
            await asyncio.sleep(100)
            found = [(name, round(at - began, 1)) for name, at in await alarms["a"].call(Alarm.came)]
        return found

    assert [("tea", 15.0)] == run_virtual(main)


def test_a_forgotten_reminder_does_not_come_though_it_is_due_already(store: KeptStore) -> None:
    async def main() -> list[Any]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set, "tea", {"after": 10.0})
            # Due at this very moment: its message is in the mailbox behind the one that forgets it, or before it.
            await asyncio.sleep(10.0)
            await alarms["a"].call(Alarm.unset, "tea")
            before = list(await alarms["a"].call(Alarm.came))
            await asyncio.sleep(100)
            after = await alarms["a"].call(Alarm.came)
            assert before == after  # nothing came after it was forgotten
            assert 0 == alarms.statistics().delivering
            found = store.rows("SELECT * FROM kb_outbox")
        return found

    assert [] == run_virtual(main)


def test_a_reminder_that_fails_is_tried_again_and_is_a_dead_letter_then(store: KeptStore) -> None:
    async def main() -> tuple[int, list[str]]:
        alarms = kind(store, max_attempts=3)
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set_failing)
            await alarms["a"].call(Alarm.set, "other", {"after": 2.0})
            await asyncio.sleep(100)
            came = [name for name, _ in await alarms["a"].call(Alarm.came)]
            found = alarms.statistics().dead_letters, came
        return found

    assert (1, ["other"]) == run_virtual(main)
    [(state, attempts, report)] = store.rows("SELECT state, attempts, report FROM kb_outbox")
    assert ("dead", 3) == (state, attempts)
    assert "ValueError: never" in report


def test_a_crontab_goes_by_the_wall_clock(store: KeptStore) -> None:
    async def main() -> list[str]:
        alarms = kind(store)
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set, "hourly", {"cron": "0 * * * *"})
            await asyncio.sleep(3 * 3600)
            came = await alarms["a"].call(Alarm.came)
            moments = [datetime.fromtimestamp(at + store.offset, UTC) for _, at in came]
            found = [f"{moment:%M:%S}" for moment in moments]
        return found

    assert ["00:00"] * 3 == run_virtual(main)


@pytest.mark.parametrize(("jump", "moments"), [(3_600.0, [6.0]), (-3_600.0, [3_610.0])])
def test_a_clock_that_is_set_moves_reminders_and_neither_loses_nor_repeats_one(
    store: KeptStore, jump: float, moments: list[float]
) -> None:
    async def main() -> tuple[list[float], list[str]]:
        alarms = kind(store)
        began = asyncio.get_running_loop().time()
        times: list[float] = []
        names: list[str] = []
        async with kb.Supervisor(alarms.child()):
            await alarms["a"].call(Alarm.set, "once", {"after": 10.0})
            await alarms["a"].call(Alarm.set, "hourly", {"every": 3_600.0, "missed": "fire_all"})
            await asyncio.sleep(5.0)
            store.offset += jump
            await asyncio.sleep(8_000.0)
            for name, at in await alarms["a"].call(Alarm.came):
                names.append(name)
                if name == "once":
                    times.append(at - began)
        return times, names

    times, names = run_virtual(main)
    assert moments == pytest.approx(times, abs=1.5)
    # Hours of the clock that were begun: the one that it jumped over came too, and those after a set-back once.
    assert (3 if jump > 0 else 1) == names.count("hourly")


def test_occurrences_keep_their_numbers_whatever_is_missed() -> None:
    rule = Rule("every", 100, "10.0")

    assert ([100, 101, 102], 40.0, rule._replace(number=103)) == rule.fire(10.0, 35.0, "fire_all")
    assert ([102], 40.0, rule._replace(number=103)) == rule.fire(10.0, 35.0, "fire_once")
    assert ([102], 40.0, rule._replace(number=103)) == rule.fire(10.0, 39.0, "skip")
    assert Rule.read(rule.text) == rule


def test_what_is_no_rule_is_refused() -> None:
    def rule(**given: Any) -> Rule:
        options: dict[str, Any] = {"after": None, "at": None, "every": None, "cron": None, "missed": "skip"}
        return rule_of(0, timezone=given.pop("timezone", "UTC"), **(options | given))

    for wrong in (
        {},
        {"after": 1.0, "every": 1.0},
        {"after": -1.0},
        {"every": 0.0},
        {"at": datetime(2026, 1, 1)},
        {"cron": "every day"},
        {"cron": "* * * * *", "timezone": "Nowhere"},
        {"after": 1.0, "missed": "perhaps"},
    ):
        with pytest.raises(kb.UsageError):
            rule(**wrong)
    moment = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert moment.timestamp() == rule(at=moment).first(0.0)
