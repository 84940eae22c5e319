"""The same looks into actors of other nodes, from the root, from there, and from in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.otp.introspection.watched import (
    Listener,
    Locked,
    Slotted,
    Till,
    Unprintable,
    count_events,
    doubled,
    failing,
    failing_hook,
)

import koboshi as kb
from koboshi import otp
from koboshi.wire import NotPicklable

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


class Looker(kb.Actor):
    """Looks from where it lives."""

    @kb.message
    async def state_of(self, ref: kb.ActorRef[Any]) -> Any:
        return await otp.get_state(ref)

    @kb.message
    async def hold_up(self, ref: kb.ActorRef[Any]) -> Any:
        await otp.suspend(ref)
        ref.cast(Slotted.sum)
        state = await otp.get_state(ref)
        await otp.resume(ref)
        return state


async def test_all_looks_work_on_another_node() -> None:
    async with kb.Supervisor(
        kb.node("n1"), kb.node("n2"), kb.child(Till, 1).options(on="n1", id="far", name="far")
    ) as tree:
        far = tree.ref(Till, "far")
        far.cast(Till.add, 1)
        status = await otp.get_status(far)
        assert ({"total": 2, "secret": "***"}, 7, ("far",)) == (status.state, status.version, status.names)

        await otp.suspend("far")
        await otp.suspend(far)
        for number in range(3):
            far.cast(Till.add, number)
        suspended = await otp.get_status(far)
        assert (True, 3) == (suspended.suspended, suspended.mailbox)
        await otp.resume(far)
        assert 6 == await far.call(Till.add, 1)

        listener = await tree.start_child(kb.child(Listener).options(on="n2"))
        await otp.trace(far, to=listener)
        await otp.log(far)
        await otp.statistics(far, "on")
        assert await otp.install(far, count_events, 0)
        assert not await otp.install(far, count_events, 0)
        await far.call(Till.add, 1)
        label = "supervisor/far"
        expected = [
            otp.MessageIn(label, "Till.add", (1,), {}, call=True),
            otp.MessageOut(label, "Till.add", 7),
            otp.StateChange(
                label, "Till.add", str({"total": 6, "secret": "***"}), str({"total": 7, "secret": "***"})
            ),
        ]
        assert expected == await otp.log(far, "get")
        assert expected == await listener.call(Listener.wait_for, 3)
        figures = await otp.statistics(far)
        assert figures is not None
        assert (1, 1, 0) == (figures.messages_in, figures.messages_out, figures.failed)
        await otp.no_debug(far)
        assert () == (await otp.get_status(far)).looked_at_by


async def test_functions_go_by_name_and_their_errors_come_back() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Slotted).options(on="n1")) as tree:
        far = tree.ref(Slotted, "Slotted")
        assert {"one": 1, "three": 3} == await otp.get_state(far)
        with pytest.raises(NotPicklable, match=r"argument 2 .function. of replace_state"):
            await otp.replace_state(far, lambda state: state)
        with pytest.raises(KeyError, match="total"):
            await otp.replace_state(far, doubled)
        with pytest.raises(KeyError, match="half way"):
            await otp.replace_state(far, failing)
        assert {"one": 1, "three": 3} == await otp.get_state(far)

        locked = await tree.start_child(kb.child(Locked).options(on="n1"))
        with pytest.raises(kb.ResultNotPicklable, match="dict"):
            await otp.get_state(locked)
        assert "pong" == await locked.call(Locked.ping)


async def test_a_trace_without_a_reader_is_heard_by_the_instruments_of_the_root() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Unprintable).options(on="n1", id="far")) as tree:
        events: list[Any] = []
        all_there = asyncio.Event()

        def hear(event: kb.events.Event) -> None:
            if isinstance(event, otp.TraceEvent | otp.DebugRemoved):
                events.append(event)
                if len(events) == 3:
                    all_there.set()

        stop = kb.listen(hear)
        far = tree.ref(Unprintable, "far")
        await otp.trace(far)
        await otp.install(far, failing_hook)
        assert 1 == await far.call(Unprintable.echo, 1)
        async with asyncio.timeout(5):  # events of other nodes come on their own, not with the reply
            await all_there.wait()
        stop()

        assert [otp.MessageIn, otp.DebugRemoved, otp.MessageOut] == [type(event) for event in events]


async def test_one_worker_looks_into_another_and_into_the_root() -> None:
    async with kb.Supervisor(
        kb.node("n1"),
        kb.node("n2"),
        kb.child(Slotted).options(id="here"),
        kb.child(Slotted).options(id="far", on="n1"),
        kb.child(Looker).options(on="n2"),
        kb.child(Looker).options(id="thread", on="thread"),
    ) as tree:
        for looker in (tree.ref(Looker, "Looker"), tree.ref(Looker, "thread")):
            for id in ("here", "far"):
                ref = tree.ref(Slotted, id)
                assert {"one": 1, "three": 3} == await looker.call(Looker.state_of, ref)
                assert {"one": 1, "three": 3} == await looker.call(Looker.hold_up, ref)
                assert 4 == await ref.call(Slotted.sum)


async def test_a_system_message_goes_past_a_full_mailbox_on_another_node() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Slotted).options(on="n1", id="far", mailbox=1)) as tree:
        far = tree.ref(Slotted, "far")
        await otp.suspend(far)
        far.cast(Slotted.sum)
        far.cast(Slotted.sum)
        await otp.get_state(far)
        with pytest.raises(kb.MailboxFull):
            far.cast(Slotted.sum)

        assert {"one": 1, "three": 3} == await otp.get_state(far)
        await otp.resume(far)


async def test_a_process_that_is_gone_or_bare_is_told_apart_across_nodes() -> None:
    async with kb.Supervisor(
        kb.node("n1"),
        kb.child(bare).options(on="n1", id="bare"),
        kb.child(Slotted).options(on="n1", id="far", restart="temporary"),
    ) as tree:
        with pytest.raises(kb.UsageError, match="is a bare process"):
            await otp.get_state(tree.ref(kb.Process, "bare"))
        (far,) = [each.ref for each in await tree.which_children() if each.id == "far"]
        assert far is not None
        far.kill()
        assert kb.Killed() == await far.wait_exit(5)
        with pytest.raises(kb.NotRunning):
            await otp.get_state(far)


async def bare() -> None:
    """A process that waits to be ended."""
    await kb.receive()


async def test_a_call_that_times_out_at_a_suspended_actor_elsewhere_claims_no_more_than_it_knows() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Till, 1).options(on="n1", id="far")) as tree:
        far = tree.ref(Till, "far")
        await otp.suspend(far)
        with pytest.raises(kb.CallTimeout, match="the callee may have begun on it") as caught:
            await far.within(0.05).call(Till.add, 1)

        assert caught.value.maybe_executed
        await otp.resume(far)


SCRIPT = """
import koboshi as kb
from koboshi import otp

class Mine(kb.Actor):
    pass

async def main():
    async with kb.Supervisor(kb.node("n1"), kb.child(Mine).options(on="n1", id="far"), kb.child(Mine)) as tree:
        for ref in (tree.ref(Mine, "far"), tree.ref(Mine, "Mine")):
            print((await otp.get_status(ref)).actor_class)

if __name__ == "__main__":
    kb.run(main)
"""


def test_a_class_of_the_script_itself_has_one_name_wherever_its_actor_lives(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=30)

    assert ["__main__.Mine"] * 2 == done.stdout.splitlines(), done.stderr
