"""A failover whose preferred source is on a worker node that is lost."""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.otp.failover.sources import Sink, count_to
from tests.otp.routers.routees import Worker

import koboshi as kb
from koboshi import otp

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_when_a_node_is_lost_the_source_at_home_goes_on_behind_its_last_item() -> None:
    async with kb.Supervisor(
        kb.node("n1").options(restart="temporary"),
        kb.child(Sink).options(id="sink"),
        kb.child(Worker, "spy").options(id="spy", on="n1", restart="temporary"),
        max_restarts=100,
    ) as tree:
        sink = tree.ref(Sink, "sink")
        changed, over = asyncio.Event(), asyncio.Event()

        def listen(event: kb.events.Event) -> None:
            if isinstance(event, otp.ChangedOver):
                (over if event.source == "near" else changed).set()

        stop = kb.listen(listen)
        sources = otp.Push("far", count_to, (5,), on="n1"), otp.Push("near", count_to, (9,))
        spec = kb.child(otp.Failover, *sources, consumer=sink, message=Sink.take)
        await tree.start_child(spec.options(id="failover"))
        async with asyncio.timeout(20):
            await changed.wait()
            await sink.within(None).call(Sink.once_taken, 5)
            os.kill(await tree.ref(Worker, "spy").call(Worker.pid), 9)
            await over.wait()
            await sink.within(None).call(Sink.once_taken, 9)

        assert list(range(1, 10)) == await sink.call(Sink.taken)
        stop()
