"""An error in a handler, of whatever class, ends its actor and nothing else, and is reported."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._events import CrashReport, Event
from koboshi._kernel._node import this_node


class Bystander(kb.Actor):
    """Has nothing to do with the crash of another."""

    @kb.message
    def ping(self) -> str:
        return "pong"


def events() -> list[Event]:
    """Everything that is reported from now on."""
    seen: list[Event] = []
    this_node().instruments.add(seen.append)
    return seen


class Raiser(kb.Actor):
    @kb.message
    def plain(self, error: BaseException) -> None:
        raise error

    @kb.message
    async def at_once(self, error: BaseException) -> None:
        raise error

    @kb.message
    async def later(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error


@pytest.mark.parametrize("message", [Raiser.plain, Raiser.at_once, Raiser.later])
@pytest.mark.parametrize(
    "error", [ValueError("v"), SystemExit(3), asyncio.CancelledError(), GeneratorExit(), BaseException("b")]
)
@pytest.mark.parametrize("sent", ["call", "cast"])
async def test_whatever_a_handler_raises_ends_its_actor_and_nothing_else(
    message: Any, error: BaseException, sent: str
) -> None:
    raiser, bystander = await kb.start(Raiser), await kb.start(Bystander)
    if sent == "call":
        with pytest.raises(kb.ActorExited) as caught:
            await raiser.call(message, error)
        assert kb.Crashed(error) == caught.value.reason
    else:
        raiser.cast(message, error)

    assert kb.Crashed(error) == await raiser.wait_exit()
    assert "pong" == await bystander.call(Bystander.ping)


@pytest.mark.parametrize("message", [Raiser.plain, Raiser.at_once, Raiser.later])
@pytest.mark.parametrize("sent", ["call", "cast"])
def test_a_keyboard_interrupt_in_a_handler_ends_the_actor_and_interrupts_the_program(
    message: Any, sent: str
) -> None:
    ref: list[kb.ActorRef[Raiser]] = []

    async def main() -> None:
        ref.append(await kb.start(Raiser))
        if sent == "call":
            with contextlib.suppress(
                kb.ActorExited
            ):  # the program is interrupted before anybody could take it
                await ref[0].call(message, KeyboardInterrupt())
            return
        ref[0].cast(message, KeyboardInterrupt())
        await ref[0].wait_exit()

    async def look() -> kb.ExitReason | None:
        return await ref[0].wait_exit()

    with asyncio.Runner() as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        reason = runner.run(look())

    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, KeyboardInterrupt)


async def test_a_crash_report_names_the_actor_the_message_the_state_and_the_links() -> None:
    class Secretive(kb.Actor):
        def __init__(self) -> None:
            self.password = "hunter2"

        def format_status(self) -> object:
            return {"password": "***"}

        @kb.message
        def fail(self, n: int) -> None:
            raise ValueError(f"got {n}")

    seen = events()
    async with kb.Supervisor(kb.child(Secretive).options(id="vault", restart="temporary")) as tree:
        ref = tree.ref(Secretive, "vault")
        with pytest.raises(kb.ActorExited):
            await ref.call(Secretive.fail, 3)

    (report,) = [each for each in seen if isinstance(each, CrashReport)]
    assert "supervisor/vault" == report.process
    assert report.message.endswith("Secretive.fail")
    assert "{'password': '***'}" == report.state
    assert ("supervisor",) == report.links == report.ancestors
    assert "ValueError: got 3" in report.traceback()
    assert "in fail" in report.traceback()


async def test_a_failed_call_leaves_the_caller_the_current_process() -> None:
    class Catcher(kb.Actor):
        @kb.message
        async def go(self, other: kb.ActorRef[Raiser]) -> bool:
            with pytest.raises(kb.ActorExited):
                await other.call(Raiser.plain, ValueError("torn"))
            return kb.me() == self.me

    catcher, raiser = await kb.start(Catcher), await kb.start(Raiser)

    assert await catcher.call(Catcher.go, raiser)
