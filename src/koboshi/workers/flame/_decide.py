"""How many runners there are to be, and which one takes the next function: values in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The options of a pool of runners that decide on its size."""

    least: int
    most: int
    max_concurrency: int
    idle_after: float
    warm_spare: int


@dataclass(frozen=True, slots=True)
class Load:
    """One runner that is up: what it has in hand, and since when it has had nothing."""

    id: int
    in_hand: int
    idle_since: float | None


def wanted(demand: int, limits: Limits) -> int:
    """How many runners the work at hand needs: with the spares, and within the limits.

    Args:
        demand: functions that wait or run, and actors that were placed.
    """
    needed = -(-demand // limits.max_concurrency)
    if demand:
        needed += limits.warm_spare
    return max(limits.least, min(limits.most, needed))


def to_boot(demand: int, up: int, booting: int, limits: Limits) -> int:
    """How many runners to start now."""
    return max(0, wanted(demand, limits) - up - booting)


def to_retire(demand: int, loads: Iterable[Load], now: float, limits: Limits) -> list[int]:
    """The runners to end now: idle for long enough and not needed, those that are idle longest first.

    That a runner has to be idle for a while is what keeps a pool from growing and shrinking with each
    function that comes and goes.
    """
    all_loads = list(loads)
    idle = [
        (load.idle_since, load.id)
        for load in all_loads
        if load.idle_since is not None and not load.in_hand and now - load.idle_since >= limits.idle_after
    ]
    surplus = len(all_loads) - wanted(demand, limits)
    return [id for _, id in sorted(idle)[: max(0, surplus)]]


def choose(loads: Iterable[Load], limits: Limits) -> int | None:
    """The runner for the next function: the fullest that has room, so that others come to rest."""
    best: Load | None = None
    for load in loads:
        if load.in_hand < limits.max_concurrency and (
            best is None or (-load.in_hand, load.id) < (-best.in_hand, best.id)
        ):
            best = load
    return None if best is None else best.id


def next_look(loads: Iterable[Load], now: float, limits: Limits) -> float | None:
    """Seconds until a runner may be due to end; None when none is idle."""
    times = [load.idle_since + limits.idle_after - now for load in loads if load.idle_since is not None]
    return max(0.0, min(times)) if times else None
