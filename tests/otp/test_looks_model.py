"""Whatever is done to an actor from outside, in whatever order: no message is lost, doubled or out of turn."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Ledger(kb.Actor):
    """Keeps the numbers that it gets."""

    version = 1

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.gate: asyncio.Event | None = None

    @kb.message
    def put(self, number: int) -> int:
        self.numbers = [*self.numbers, number]
        return number

    @kb.message
    async def put_slowly(self, number: int) -> int:
        await asyncio.sleep(0.001)
        self.numbers = [*self.numbers, number]
        return number

    def on_info(self, message: Any) -> None:
        self.numbers = [*self.numbers, message]


class Ledger2(kb.Actor):
    """The same with all numbers negated, to tell the two apart."""

    version = 2

    def __init__(self) -> None:
        self.negated: list[int] = []

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {"negated": [-number for number in state["numbers"]]}

    @kb.message
    def put(self, number: int) -> int:
        self.negated = [*self.negated, -number]
        return number

    @kb.message
    async def put_slowly(self, number: int) -> int:
        await asyncio.sleep(0.001)
        self.negated = [*self.negated, -number]
        return number

    def on_info(self, message: Any) -> None:
        self.negated = [*self.negated, -message]


class Ledger3(Ledger):
    """Back again."""

    version = 3

    def code_change(self, old_version: Any, state: dict[str, Any]) -> dict[str, Any]:
        if old_version != 2:
            raise ValueError(f"not from version {old_version}")
        return {"numbers": [-number for number in state["negated"]], "gate": None}


OPERATIONS = st.sampled_from(
    [
        "cast",
        "slow",
        "tell",
        "call",
        "suspend",
        "resume",
        "state",
        "replace",
        "trace",
        "untrace",
        "up",
        "down",
    ]
)


@given(st.lists(OPERATIONS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_doubled_or_out_of_turn(operations: list[str]) -> None:
    run_virtual(lambda: follow(operations))


async def follow(operations: list[str]) -> None:
    """Do all that, with a model beside it."""
    ref: Any = await kb.start(Ledger)
    sent: list[int] = []  # in the order in which they were sent
    handled = 0  # how many of them a state that is read now must show
    suspended, version, traced = False, 1, False
    calls: list[asyncio.Future[int]] = []
    for operation in operations:
        if operation in ("cast", "slow", "tell", "call"):
            sent.append(len(sent) + 1)
        if operation == "cast":
            ref.cast(Ledger.put, sent[-1])
        elif operation == "slow":
            ref.cast(Ledger.put_slowly, sent[-1])
        elif operation == "tell":
            ref.tell(sent[-1])
        elif operation == "call":
            calls.append(asyncio.ensure_future(ref.within(None).call(Ledger.put, sent[-1])))
            await asyncio.sleep(0)
        elif operation == "suspend":
            await otp.suspend(ref)
            handled = handled if suspended else len(sent)
            suspended = True
        elif operation == "resume":
            await otp.resume(ref)
            suspended = False
        elif operation == "state":
            assert sent[: handled if suspended else len(sent)] == numbers(await otp.get_state(ref))
        elif operation == "replace":
            await otp.replace_state(ref, dict)
        elif operation in ("trace", "untrace"):
            await (otp.log(ref) if operation == "trace" else otp.no_debug(ref))
            traced = operation == "trace"
        elif operation == "up" and version != 2:
            await otp.upgrade(ref, Ledger2)
            version = 2
        elif operation == "down" and version == 2:
            await otp.upgrade(ref, Ledger3)
            version = 3
        elif operation == "down":
            try:
                await otp.upgrade(ref, Ledger3)
            except otp.UpgradeFailed as failed:
                assert f"not from version {version}" in str(failed)
        status = await otp.get_status(ref)
        assert (suspended, version, traced) == (
            status.suspended,
            status.version,
            bool(status.looked_at_by),
        )
    await otp.resume(ref)
    assert sent == numbers(await otp.get_state(ref))
    await asyncio.gather(*calls)
    await ref.stop()


def numbers(state: dict[str, Any]) -> list[int]:
    """What a ledger of any version has got."""
    return [-number for number in state["negated"]] if "negated" in state else state["numbers"]
