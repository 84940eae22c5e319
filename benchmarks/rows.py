"""What is measured: every row's work, its check, its sides and its goals.

Nothing here measures. The expected checksums are computed here, from the definition of the
row alone, so that no side can be right by agreeing with another side's mistake.
"""

from __future__ import annotations

from durable_rows import DURABLE_ROWS
from row import MEASURED, Goal, Row, Unit
from sides.large_jobs import ARRAY_ITEMS, digest

RING_ACTORS = 1_000
FANOUT_ACTORS = 1_000
ROUTEES = 16
CALLERS = 250
BORROWERS = 16
LENT = 8
STREAM_CONCURRENCY = 16
KEYS = 1_000


def _sum_to(size: int) -> int:
    return size * (size + 1) // 2


def _size(size: int) -> int:
    return size


def _half(size: int) -> int:
    return (size + 1) // 2


def _sum_below(size: int) -> int:
    return size * (size - 1) // 2


def _squares_below(size: int) -> int:
    return (size - 1) * size * (2 * size - 1) // 6


def _digests_below(size: int) -> int:
    return sum(map(digest, range(size)))


def _doubles_to(size: int) -> int:
    return size * (size + 1)


def _ring_visits(hops: int) -> int:
    """Every visit counts with its actor's place, 1 to 1,000, so a skipped actor shows."""
    rounds, rest = divmod(hops, RING_ACTORS)
    return rounds * _sum_to(RING_ACTORS) + _sum_to(rest)


def _values_found(lookups: int) -> int:
    """Each key's value is its number, 1 to 1,000, and they are looked up in turn."""
    rounds, rest = divmod(lookups, KEYS)
    return rounds * _sum_to(KEYS) + _sum_to(rest)


def _fanout_answers(messages: int) -> int:
    """In round r the actor at place i, 0 to 999, answers i + r."""
    rounds = messages // (2 * FANOUT_ACTORS)
    return rounds * _sum_below(FANOUT_ACTORS) + FANOUT_ACTORS * _sum_to(rounds)


_ACTOR_SIDES = (MEASURED, "otp", "asyncio", "pykka")

_ALL = (
    Row(
        name="call",
        what="one actor calls another and waits for each reply",
        unit=Unit.RATE,
        size=20_000,
        smaller={"pykka": 4_000},
        sides=_ACTOR_SIDES,
        checksum=_sum_to,
        goals=(Goal(1.0, "otp"), Goal(40.0, "pykka")),
    ),
    Row(
        name="router",
        what=f"calls through a router to the least busy of {ROUTEES} actors, each reply waited for",
        unit=Unit.RATE,
        size=20_000,
        step=ROUTEES,
        sides=(MEASURED, "otp"),
        checksum=lambda size: ROUTEES * _sum_to(size // ROUTEES),
    ),
    Row(
        name="cast",
        what="one actor casts to another; ends when the last is processed",
        unit=Unit.RATE,
        # Below the default mailbox limit of 65,536, so that no side rejects or waits.
        size=50_000,
        smaller={"pykka": 20_000},
        sides=_ACTOR_SIDES,
        checksum=_sum_to,
        goals=(Goal(0.3, "otp"),),
    ),
    Row(
        name="start",
        what="an actor starts others, one by one, each initialised before the next",
        unit=Unit.RATE,
        size=5_000,
        smaller={"pykka": 500},
        sides=_ACTOR_SIDES,
        checksum=_sum_below,
        goals=(Goal(1.0, "otp"),),
    ),
    Row(
        name="idle_bytes",
        what="memory of an actor that has answered one call and now waits",
        unit=Unit.BYTES,
        size=100_000,
        # A thread each: more than this meets the limits of ordinary machines.
        smaller={"pykka": 1_000},
        sides=_ACTOR_SIDES,
        checksum=_sum_to,
        goals=(Goal(0.4, "otp"),),
        once=True,
    ),
    Row(
        name="stream",
        what=f"items through an async function, each in a task, {STREAM_CONCURRENCY} at a time",
        unit=Unit.RATE,
        size=10_000,
        sides=(MEASURED, "elixir", "asyncio"),
        checksum=_doubles_to,
    ),
    Row(
        name="ring",
        what=f"hops of one token round {RING_ACTORS:,} actors",
        unit=Unit.RATE,
        size=100_000,
        smaller={"pykka": 5_000},
        sides=_ACTOR_SIDES,
        checksum=_ring_visits,
        goals=(Goal(0.25, "otp"),),
    ),
    Row(
        name="fanout",
        what=f"messages from one actor to {FANOUT_ACTORS:,} and their answers",
        unit=Unit.RATE,
        size=100_000,
        smaller={"pykka": 10_000},
        step=2 * FANOUT_ACTORS,
        sides=_ACTOR_SIDES,
        checksum=_fanout_answers,
        goals=(Goal(0.25, "otp"),),
    ),
    Row(
        name="restart",
        what="from a supervised actor's crash to its successor's answer, report written as text",
        unit=Unit.SECONDS,
        # Few, and a new supervisor for each batch: OTP's supervisor walks the list of all
        # restarts inside its window at every restart, and must not pay for a long one.
        size=20,
        sides=(MEASURED, "otp"),
        checksum=_sum_to,
        goals=(Goal(4.0, "otp"),),
    ),
    Row(
        name="restart_quiet",
        what="the same with nobody asking for crash reports",
        unit=Unit.SECONDS,
        size=20,
        sides=(MEASURED, "otp"),
        checksum=_sum_to,
    ),
    Row(
        name="statemachine",
        what="calls to a machine with two states that each of them switches",
        unit=Unit.RATE,
        size=20_000,
        sides=(MEASURED, "otp"),
        checksum=_half,
    ),
    Row(
        name="table_counter",
        what="an actor counts in a public table that another one owns",
        unit=Unit.RATE,
        size=100_000,
        sides=(MEASURED, "otp"),
        checksum=_size,
    ),
    Row(
        name="checkout",
        what=f"{BORROWERS} borrow {LENT} workers, again and again",
        unit=Unit.RATE,
        size=16_000,
        step=BORROWERS,
        sides=(MEASURED, "asyncio"),
        checksum=_size,
    ),
    Row(
        name="registry_lookup",
        what=f"an actor looks up processes under {KEYS:,} unique keys of a registry",
        unit=Unit.RATE,
        size=100_000,
        sides=(MEASURED, "elixir"),
        checksum=_values_found,
    ),
    Row(
        name="pool_tiny",
        what="tiny jobs through two OS processes",
        unit=Unit.RATE,
        size=40_000,
        smaller={"process_pool_executor": 4_000},
        sides=(MEASURED, "mp_pool", "process_pool_executor"),
        checksum=_squares_below,
        goals=(Goal(5.0, "mp_pool"), Goal(30.0, "process_pool_executor")),
    ),
    Row(
        name="xcall",
        what="an actor calls one in another OS process and waits for each reply",
        unit=Unit.RATE,
        size=5_000,
        smaller={"ray": 500},
        sides=(MEASURED, "xoscar", "ray", "limit"),
        checksum=_sum_to,
        goals=(Goal(1 / 1.3, "limit"),),
    ),
    Row(
        name="xcall_many",
        what=f"{CALLERS} actors at once call one in another OS process",
        unit=Unit.RATE,
        size=50_000,
        step=CALLERS,
        sides=(MEASURED,),
        checksum=_sum_to,
        goals=(Goal(100_000.0),),
    ),
    Row(
        name="xcast",
        what="an actor casts to one in another OS process; ends when the last is processed",
        unit=Unit.RATE,
        size=50_000,
        sides=(MEASURED, "limit"),
        checksum=_sum_to,
    ),
    Row(
        name="many",
        what="actors started over two OS processes, and one message to each",
        unit=Unit.RATE,
        size=20_000,
        step=2,
        sides=(MEASURED,),
        checksum=_sum_below,
    ),
    Row(
        name="pool_array",
        what="an array of 80 MB to one of two OS processes, which answers with its sum",
        unit=Unit.RATE,
        size=16,
        sides=(MEASURED, "process_pool_executor", "mp_pool", "loky"),
        checksum=lambda size: size * ARRAY_ITEMS,
        goals=(Goal(5.0, "process_pool_executor"),),
    ),
    Row(
        name="pool_cpu",
        what="SHA-256 of 1 MB, in two OS processes",
        unit=Unit.RATE,
        size=1_000,
        sides=(MEASURED, "process_pool_executor", "mp_pool", "loky", "limit"),
        checksum=_digests_below,
        goals=(Goal(0.95, "limit"),),
    ),
    *(
        Row(
            name=f"scale_{workers}",
            what=f"SHA-256 of 1 MB, in {workers} OS process{'es' if workers > 1 else ''}",
            unit=Unit.RATE,
            size=1_000,
            sides=(MEASURED, "limit"),
            checksum=_digests_below,
        )
        for workers in (1, 2, 4)
    ),
    Row(
        name="downtime",
        what="from kill -9 of the only worker to the next result, a warm spare at hand",
        unit=Unit.SECONDS,
        size=20,
        sides=(MEASURED,),
        checksum=_squares_below,
        goals=(Goal(0.002),),
    ),
    Row(
        name="downtime_cold",
        what="the same without a spare",
        unit=Unit.SECONDS,
        size=20,
        sides=(MEASURED,),
        checksum=_squares_below,
        goals=(Goal(0.1),),
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in (*_ALL, *DURABLE_ROWS)}
