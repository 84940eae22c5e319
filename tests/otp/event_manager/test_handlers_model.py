"""Handlers that come, go and fail in any order: each hears exactly the events of its time, in their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


class Hears(otp.EventHandler):
    """Fails on events that name it, and hands over what it has heard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[Any] = []

    def on_start(self, handed_over: Any) -> None:
        self.heard = list(handed_over or ())

    async def on_event(self, event: Any) -> None:
        if event == ("fail", self.name):
            raise ValueError(event)
        self.heard.append(event)
        if event == ("leave", self.name):
            self.remove()

    def on_call(self, request: Any) -> Any:
        return list(self.heard)

    def on_stop(self, reason: Any) -> Any:
        return self.heard


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.sampled_from(["add", "delete", "fail", "leave", "event"]), NAMES),
    st.tuples(st.just("swap"), NAMES, NAMES),
)


@pytest.mark.slow
@given(st.lists(STEPS, max_size=40))
@settings(max_examples=60, deadline=None)
def test_each_handler_hears_exactly_the_events_of_its_time(steps: list[tuple[str, ...]]) -> None:
    run_virtual(lambda: follow(steps))


async def follow(steps: list[tuple[str, ...]]) -> None:
    """Do all that, with a dict of lists beside it."""
    bus = otp.event_manager(await kb.start(otp.EventManager))
    model: dict[str, list[Any]] = {}
    failed = 0
    for number, (step, name, *rest) in enumerate(steps):
        if step == "add":
            taken = name in model
            assert taken == await refused(bus.add_handler(spec(name)), otp.HandlerPresent)
            model.setdefault(name, [])
        elif step == "delete":
            there = name in model
            assert (not there) == await refused(bus.delete_handler(name), otp.HandlerNotFound)
            model.pop(name, None)
        elif step == "swap":
            (new,) = rest
            taken = new != name and new in model
            assert taken == await refused(bus.swap_handler(name, spec(new)), otp.HandlerPresent)
            if not taken:
                swapped = {new if each == name else each: heard for each, heard in model.items()}
                model = swapped if name in model else model | {new: []}
        else:
            event = (step, name) if step != "event" else number
            bus.notify(event)
            gone = name if step in ("fail", "leave") else None
            failed += step == "fail" and name in model
            for each, heard in model.items():
                if each != gone or step == "event":
                    heard.append(event)
            if gone is not None:
                model.pop(gone, None)
        assert list(model) == await bus.which_handlers()
        for each, heard in model.items():
            assert heard == await bus.call(each, "heard")
    assert failed == (await bus.statistics()).failed
    await bus.stop()


def spec(name: str) -> otp.HandlerSpec[Hears]:
    return otp.handler(Hears, name).options(id=name)


async def refused(asked: Any, error: type[otp.HandlerError]) -> bool:
    """Whether it was refused with that error."""
    try:
        await asked
    except error:
        return True
    return False
