"""An actor that another living program holds."""

from __future__ import annotations

import pytest
from tests.durable.another import another_program

import koboshi as kb
from koboshi.durable.actors._claim import Claim
from koboshi.durable.actors._identity import Identity

from .test_linearizable import Gauge


async def test_a_call_to_it_ends_with_its_deadline_and_says_who_holds_it(url: str) -> None:
    gauges = kb.durable(Gauge, store=url)
    async with kb.Supervisor(gauges.child()), another_program(url) as other:
        await other.run(Claim(Identity("default", "Gauge", "a"), other.host, "msgpack", 1))
        for call in (gauges["a"].within(0.2).call(Gauge.level), gauges["a"].within(0.2).awake()):
            with pytest.raises(kb.CallTimeout, match="held by the host") as raised:
                await call
            assert f"will not be: Gauge/a is held by the host {other.host}, which is alive" in str(
                raised.value
            )
            assert isinstance(raised.value.__cause__, kb.OwnedElsewhere)
            assert not raised.value.maybe_executed
