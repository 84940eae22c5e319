"""Whatever is done to an actor from outside, in any order: no message is lost, doubled or out of turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
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


@pytest.mark.slow
@given(st.lists(OPERATIONS, max_size=40))
@settings(max_examples=80, deadline=None)
def test_nothing_is_lost_doubled_or_out_of_turn(operations: list[str]) -> None:
    async def main() -> None:
        model = Model(await kb.start(Ledger))
        for operation in operations:
            await model.do(operation)
        await model.end()

    run_virtual(main)


class Model:
    """A ledger, what was sent to it, and what must have become of that."""

    def __init__(self, ref: Any) -> None:
        self.ref = ref
        self.sent: list[int] = []
        # How many of them had been sent when it was suspended, None while it is not.
        self.held_at: int | None = None
        self.version = 1
        self.traced = False
        self.calls: list[asyncio.Future[int]] = []

    async def do(self, operation: str) -> None:
        """One operation, and a look at what it has done."""
        if operation in ("cast", "slow", "tell", "call"):
            await self.send(operation)
        elif operation in ("up", "down"):
            await self.upgrade(operation)
        else:
            await self.look(operation)
        status = await otp.get_status(self.ref)
        assert (self.held_at is not None, self.version, self.traced) == (
            status.suspended,
            status.version,
            bool(status.looked_at_by),
        )

    async def send(self, operation: str) -> None:
        number = len(self.sent) + 1
        self.sent.append(number)
        if operation == "cast":
            self.ref.cast(Ledger.put, number)
        elif operation == "slow":
            self.ref.cast(Ledger.put_slowly, number)
        elif operation == "tell":
            self.ref.tell(number)
        else:
            self.calls.append(asyncio.ensure_future(self.ref.within(None).call(Ledger.put, number)))
            await asyncio.sleep(0)

    async def upgrade(self, operation: str) -> None:
        if operation == "up" and self.version != 2:
            await otp.upgrade(self.ref, Ledger2)
            self.version = 2
        elif operation == "down" and self.version == 2:
            await otp.upgrade(self.ref, Ledger3)
            self.version = 3
        elif operation == "down":
            with pytest.raises(otp.UpgradeFailed, match=f"not from version {self.version}"):
                await otp.upgrade(self.ref, Ledger3)

    async def look(self, operation: str) -> None:
        if operation == "suspend":
            await otp.suspend(self.ref)
            self.held_at = len(self.sent) if self.held_at is None else self.held_at
        elif operation == "resume":
            await otp.resume(self.ref)
            self.held_at = None
        elif operation == "state":
            assert self.sent[: self.held_at] == numbers(await otp.get_state(self.ref))
        elif operation == "replace":
            await otp.replace_state(self.ref, dict)
        else:
            await (otp.log(self.ref) if operation == "trace" else otp.no_debug(self.ref))
            self.traced = operation == "trace"

    async def end(self) -> None:
        """Let all be handled: it must be what was sent, in that order."""
        await otp.resume(self.ref)
        assert self.sent == numbers(await otp.get_state(self.ref))
        assert sorted(await asyncio.gather(*self.calls)) == [await each for each in self.calls]
        await self.ref.stop()


def numbers(state: dict[str, Any]) -> list[int]:
    """What a ledger of any version has got."""
    return [-number for number in state["negated"]] if "negated" in state else state["numbers"]
