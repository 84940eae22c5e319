"""Stores on this machine go by the clock of a loop in virtual time: what is due there is due by the test's clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.durable.changes import until

import koboshi as kb
from koboshi import testing
from koboshi.durable.stores import Query, Session, Store, engine_of

HOUR = 3_600.0


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://virtual" if request.param == "memory" else f"sqlite:///{tmp_path}/virtual.db"


class Alarm(kb.DurableActor[list[str]]):
    @kb.message
    def set(self, at: float) -> None:
        self.remind("after", Alarm.ring, "after", after=HOUR)
        self.remind("at", Alarm.ring, "at", at=at)
        self.remind("cron", Alarm.ring, "cron", cron="0 * * * *")

    @kb.message
    def ring(self, name: str) -> None:
        self.state.append(name)

    @kb.query
    def rung(self) -> list[str]:
        return self.state


@pytest.mark.slow
def test_reminders_of_hours_come_in_virtual_time(url: str) -> None:
    alarms = kb.durable(Alarm, store=url)

    async def main() -> None:
        began = time.monotonic()
        async with kb.Supervisor(alarms.child()):
            at = datetime.now(UTC) + timedelta(hours=0.5)
            await alarms["a"].call(Alarm.set, at.timestamp())
            await asyncio.sleep(0.4 * HOUR)
            assert "at" not in await alarms["a"].call(Alarm.rung)
            await asyncio.sleep(0.2 * HOUR)
            assert "at" in await alarms["a"].call(Alarm.rung)
            await asyncio.sleep(HOUR)
            assert {"after", "at", "cron"} == set(await alarms["a"].call(Alarm.rung))
        assert time.monotonic() - began < HOUR / 60

    testing.run_virtual(main)


class Patient(kb.Saga[None, str]):
    async def run(self, value: None) -> str:
        await self.sleep(HOUR)
        try:
            return await self.wait_event("never", str, timeout=HOUR)
        except kb.EventTimeout:
            return "late"


@pytest.mark.slow
def test_a_saga_waits_for_hours_in_virtual_time(url: str) -> None:
    sagas = kb.sagas(Patient, store=url, deactivate_after=10.0)

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        async with kb.Supervisor(sagas.child()):
            patient = await sagas.start(None, id="a")
            assert "late" == await patient.result()
        assert 2 * HOUR == pytest.approx(asyncio.get_running_loop().time() - began, abs=60.0)

    testing.run_virtual(main)


def test_leases_and_the_time_of_a_store_go_with_virtual_time(url: str) -> None:
    async def main() -> None:
        store = Store(engine_of(url))
        await store.open()

        def read(session: Session) -> tuple[float, float]:
            return session.now, session.lease_now

        async def clocks() -> tuple[float, float]:
            return await store.run(Query(read))

        first = await clocks()
        assert first[0] == pytest.approx(time.time(), abs=60.0)
        await asyncio.sleep(600.0)
        second = await clocks()
        assert (600.0, 600.0) == pytest.approx((second[0] - first[0], second[1] - first[1]), abs=60.0)
        assert store.holds_lease
        await store.close()

    testing.run_virtual(main)


def test_the_clock_does_not_jump_while_a_file_is_written(tmp_path: Path) -> None:
    alarms = kb.durable(Alarm, store=f"sqlite:///{tmp_path}/virtual.db")

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with kb.Supervisor(alarms.child()):
            deadline = loop.call_later(1_000.0, lambda: None)
            for _ in range(20):
                assert [] == await alarms["a"].call(Alarm.rung)
            deadline.cancel()
        return loop.time() - began

    assert testing.run_virtual(main) < 60.0


def test_a_loop_that_refuses_what_takes_real_time_opens_no_file(tmp_path: Path) -> None:
    alarms = kb.durable(Alarm, store=f"sqlite:///{tmp_path}/virtual.db")

    async def main() -> None:
        with pytest.raises(kb.StartError) as caught:
            async with kb.Supervisor(alarms.child()):
                await until(lambda: False, alarms)
        assert "takes real time" in str(caught.value.__cause__)

    testing.run_virtual(main, real="refuse")
