"""The rows of the durable layer: what is answered is committed, on SQLite with full fsync or on PostgreSQL."""

from __future__ import annotations

from row import MEASURED, Goal, Row, Unit

DURABLE_ACTORS = 1_000
DURABLE_CALLERS = 16
AGGREGATES = 500
PRODUCERS = 256


def _size(size: int) -> int:
    return size


def _squares_below(size: int) -> int:
    return (size - 1) * size * (2 * size - 1) // 6


DURABLE_ROWS = (
    Row(
        name="tasks",
        what="durable tasks from put to acknowledged, SQLite with full fsync",
        unit=Unit.RATE,
        size=10_000,
        smaller={"dbos": 200},
        sides=(MEASURED, "dbos", "limit"),
        checksum=_squares_below,
        goals=(Goal(20_000.0), Goal(50.0, "dbos")),
    ),
    Row(
        name="tasks_postgres",
        what="the same on PostgreSQL with fsync",
        unit=Unit.RATE,
        size=10_000,
        sides=(MEASURED,),
        checksum=_squares_below,
    ),
    Row(
        name="recover",
        what="from kill -9 of a program that has all the tasks claimed to the end of the last one",
        unit=Unit.SECONDS,
        size=10_000,
        sides=(MEASURED,),
        checksum=_squares_below,
        once=True,
    ),
    Row(
        name="recover_wait",
        what="of that, until the next program runs the first of them",
        unit=Unit.SECONDS,
        size=10_000,
        sides=(MEASURED,),
        checksum=_squares_below,
        once=True,
    ),
    Row(
        name="turns_many_postgres",
        what=f"durable turns of {DURABLE_ACTORS:,} actors, {DURABLE_CALLERS} callers each, PostgreSQL with fsync",
        unit=Unit.RATE,
        size=32_000,
        step=DURABLE_ACTORS * DURABLE_CALLERS,
        sides=(MEASURED,),
        checksum=_size,
    ),
    Row(
        name="turns_one",
        what="durable turns of one actor, one caller at a time; vs the raw commit rate",
        unit=Unit.RATE,
        size=2_000,
        sides=(MEASURED, "sqlite"),
        checksum=_size,
        goals=(Goal(0.5, "sqlite"),),
    ),
    Row(
        name="turns_many",
        what=f"durable turns of {DURABLE_ACTORS:,} actors, {DURABLE_CALLERS} callers each; vs a commit for each turn",
        unit=Unit.RATE,
        size=64_000,
        smaller={"sqlite": 16_000},
        step=DURABLE_ACTORS * DURABLE_CALLERS,
        sides=(MEASURED, "sqlite"),
        checksum=_size,
        goals=(Goal(20_000.0),),
    ),
    Row(
        name="activate",
        what="durable actors woken by their first message",
        unit=Unit.RATE,
        size=10_000,
        sides=(MEASURED,),
        checksum=_size,
        goals=(Goal(10_000.0),),
    ),
    Row(
        name="events",
        what=f"commands to {AGGREGATES} event-sourced actors, each answered after its event is committed to SQLite",
        unit=Unit.RATE,
        size=20_000,
        smaller={"eventsourcing": 2_000},
        step=AGGREGATES,
        sides=(MEASURED, "eventsourcing"),
        checksum=_size,
        goals=(Goal(10.0, "eventsourcing"),),
    ),
)
