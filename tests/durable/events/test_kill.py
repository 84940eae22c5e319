"""kill -9 of a real program at points: no answered event is lost, and projections have each event once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import koboshi as kb

from .carts import Cart
from .totals import Sales, Sold, Totals

HERE = Path(__file__).parent


def run(path: str, number: int, fatal: int) -> list[str]:
    """What a run that is killed there has answered."""
    done = subprocess.run(
        [sys.executable, "-m", "events.killed_carts", path, str(number), str(fatal)],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == (-signal.SIGKILL if fatal else 0), done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
async def test_a_killed_program_loses_no_answered_event_and_projects_each_once(path: str) -> None:
    answered: list[tuple[str, str]] = []
    [*_, end] = run(path + "0", 0, 0)
    statements = int(end.removeprefix("end "))
    # Spread over a whole run: claims, events, snapshots, batches, offsets, the rebuild and the swap.
    points = [max(1, statements * n // 8) + n % 3 for n in range(8)]
    for number, fatal in enumerate(points):
        for line in run(path, number, fatal):
            key, item = line.split()
            if key != "end":
                answered.append((key, item))
    carts = kb.durable(Cart, store=f"sqlite:///{path}", snapshot_every_events=3)
    totals = kb.projection(Totals, of=carts, name="followed")
    sales = kb.projection(Sales, of=carts)
    async with kb.Supervisor(carts.child(), totals.child(), sales.child()):
        await totals.wait_for()
        await sales.wait_for()
        kept = {key: [each.event.item for each in await carts[key].history(limit=10_000)] for key in "ab"}
        for key, items in kept.items():
            assert len(items) == len(set(items))
            assert items == list((await carts[key].call(Cart.look)).items)
            assert [item for at, item in answered if at == key and item not in items] == []
        text = "SELECT cart, events FROM cart_totals ORDER BY cart"
        rows = await totals._kind("a test").store.read(lambda session: session.execute(text, {}))
        assert [(key, len(items)) for key, items in sorted(kept.items())] == [tuple(row) for row in rows]
        count = sum(map(len, kept.values()))
        assert await sales.call(Sales.sold) == Sold(count, count)
        assert answered
