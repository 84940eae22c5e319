"""A state machine that is upgraded is in the new class's state of the same name, or the one that it says."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi._kernel._system import ask
from koboshi.otp.hot_code._change import prepare, roll_back


class Lamp(otp.StateMachine):
    version = 1

    class State(Enum):
        DARK = 1
        LIT = 2

    initial = State.DARK

    @otp.event
    def press(self) -> str:
        return self.unexpected()

    @otp.event
    def glow(self) -> str:
        self.postpone()
        return ""

    @otp.event
    def which(self) -> tuple[str, bool]:
        return type(self).__name__, isinstance(self.state, type(self).State)

    @otp.when(State.DARK, press, to=State.LIT)
    def light(self) -> str:
        self.set_state_timeout(10.0)
        return "1: lit"

    @otp.when(State.LIT, press, to=State.DARK)
    def darken(self) -> str:
        return "1: dark"

    @otp.when(State.LIT, otp.STATE_TIMEOUT, to=State.DARK)
    def goes_out(self, payload: object) -> None:
        pass


class Lamp2(otp.StateMachine):
    """The same states, each with a handler of its own."""

    class State(Enum):
        DARK = 1
        LIT = 2

    initial = State.DARK

    @otp.event
    def press(self) -> str:
        return self.unexpected()

    @otp.event
    def glow(self) -> str:
        return self.unexpected()

    @otp.event
    def which(self) -> tuple[str, bool]:
        return type(self).__name__, isinstance(self.state, type(self).State)

    @otp.when(State.DARK, press, to=State.LIT)
    def light(self) -> str:
        return "2: lit"

    @otp.when(State.LIT, press, to=State.DARK)
    def darken(self) -> str:
        return "2: dark"

    @otp.when(State.DARK, glow)
    def glow_on(self) -> str:
        return "2: glowing"

    @otp.when(State.LIT, otp.STATE_TIMEOUT, to=State.DARK)
    def goes_out(self, payload: object) -> None:
        pass


class Renamed(otp.StateMachine):
    """LIT is called ON, and it says so."""

    class State(Enum):
        OFF = 1
        ON = 2

    initial = State.OFF

    @otp.event
    def press(self) -> str:
        return self.unexpected()

    @otp.when(State.OFF, press, to=State.ON)
    def on(self) -> str:
        return "3: on"

    @otp.when(State.ON, press, to=State.OFF)
    def off(self) -> str:
        return "3: off"

    def code_change_state(self, old_version: Any, name: str) -> Enum:
        assert 1 == old_version
        return {"DARK": self.State.OFF, "LIT": self.State.ON}[name]


class SaysNothing(Renamed):
    def code_change_state(self, old_version: Any, name: str) -> Enum:
        return otp.StateMachine.code_change_state(self, old_version, name)


class Plain(kb.Actor):
    @kb.message
    def press(self) -> str:
        return "plain"


async def test_the_rows_of_the_new_class_count_from_the_next_event_on() -> None:
    ref: Any = await kb.start(Lamp)
    await ref.call(Lamp.press)
    await otp.upgrade(ref, Lamp2)

    assert ["2: dark", "2: lit"] == [await ref.call(Lamp2.press) for _ in range(2)]


async def test_the_state_is_a_member_of_the_new_class() -> None:
    ref: Any = await kb.start(Lamp)
    await otp.upgrade(ref, Lamp2)

    assert ("Lamp2", True) == await ref.call(Lamp2.which)


def test_timeouts_and_postponed_events_outlive_an_upgrade() -> None:
    async def main() -> tuple[str, bool, str, str]:
        ref: Any = await kb.start(Lamp)
        await ref.call(Lamp.press)
        call = asyncio.ensure_future(ref.within(None).call(Lamp.glow))
        await asyncio.sleep(6.0)
        await otp.upgrade(ref, Lamp2)
        await asyncio.sleep(3.0)
        before, early = (await ref.call(Lamp2.statistics)).state, call.done()
        await asyncio.sleep(2.0)
        return before, early, (await ref.call(Lamp2.statistics)).state, await call

    assert ("LIT", False, "DARK", "2: glowing") == run_virtual(main)


async def test_a_class_with_other_states_says_which_state_it_is_in() -> None:
    ref: Any = await kb.start(Lamp)
    await ref.call(Lamp.press)
    await otp.upgrade(ref, Renamed)

    assert ["3: off", "3: on"] == [await ref.call(Renamed.press) for _ in range(2)]


async def test_a_state_that_the_new_class_does_not_have_fails_the_upgrade_and_the_machine_goes_on() -> None:
    ref: Any = await kb.start(Lamp)
    await ref.call(Lamp.press)
    with pytest.raises(otp.UpgradeFailed, match="SaysNothing has no state 'LIT'; say with code_change_state"):
        await otp.upgrade(ref, SaysNothing)

    assert "1: dark" == await ref.call(Lamp.press)


async def test_an_upgrade_that_is_taken_back_leaves_state_and_rows_as_they_were() -> None:
    ref: Any = await kb.start(Lamp)
    await ref.call(Lamp.press)
    await ask(ref, prepare, "an upgrade", Renamed)
    await ask(ref, roll_back, "an upgrade")

    assert "1: dark" == await ref.call(Lamp.press)
    assert ("Lamp", True) == await ref.call(Lamp.which)


async def test_a_machine_does_not_become_another_actor_and_another_actor_begins_as_a_machine() -> None:
    ref: Any = await kb.start(Lamp)
    with pytest.raises(otp.UpgradeFailed, match="a state machine stays one"):
        await otp.upgrade(ref, Plain)
    plain: Any = await kb.start(Plain)
    await otp.upgrade(plain, Lamp2)

    assert "1: lit" == await ref.call(Lamp.press)
    assert "2: lit" == await plain.call(Lamp2.press)
