"""Events: what happened is told once, with its particulars, to all instruments, and printed by nobody."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

import koboshi as kb
from koboshi._kernel import _events
from koboshi._kernel._events import CrashReport, Dropped, Ended, Event, Started, Stubborn, Unhandled
from koboshi._kernel._node import this_node
from koboshi.testing import wait_idle

E = TypeVar("E", bound=Event)


class Account(kb.Actor):
    """Has a secret that it does not show."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.password = "hunter2"

    def format_status(self) -> object:
        return {"owner": self.owner, "password": "***"}

    @kb.message
    def fail(self, text: str) -> None:
        raise ValueError(text)

    @kb.message
    async def fail_later(self, text: str) -> None:
        await asyncio.sleep(0)
        raise ValueError(text)

    @kb.message
    def ping(self) -> str:
        return "pong"

    @kb.message
    async def waits(self) -> None:
        await asyncio.Event().wait()

    @kb.message
    async def link_to(self, other: kb.ActorRef[Any]) -> None:
        kb.link(other)

    @kb.message
    async def stubborn(self) -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue


class Seen(list[Event]):
    """All events, in order."""

    def only(self, kind: type[E]) -> E:
        found = [event for event in self if type(event) is kind]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture
async def seen() -> Any:
    events = Seen()
    remove = this_node().instruments.add(events.append)
    yield events
    remove()


async def crashed(ref: kb.ActorRef[Account], message: Any = Account.fail, *args: Any) -> None:
    with pytest.raises(kb.ActorExited):
        await ref.call(message, *args)


async def test_a_start_and_an_end_are_told_once_each(seen: Seen) -> None:
    ref = await kb.start(Account, "ann")
    label = kb.info(ref).label
    await ref.stop(kb.Shutdown("over"))

    assert [Started(label), Ended(label, kb.Shutdown("over"))] == seen


async def test_a_bare_process_is_told_of_likewise(seen: Seen) -> None:
    async def body() -> None: ...

    ref = kb.spawn(body)
    label = kb.info(ref).label
    await ref.wait_exit(5)

    assert [Started(label), Ended(label, kb.Normal())] == seen


async def test_the_end_is_told_after_all_is_released_and_before_anybody_else_hears(seen: Seen) -> None:
    found: list[Any] = []
    remove = this_node().instruments.add(
        lambda event: found.append(kb.whereis("name")) if isinstance(event, Ended) else None
    )
    ref = await kb.start(Account, "ann")
    kb.register("name", ref)
    ref.kill()
    await ref.wait_exit(5)
    remove()

    assert found == [None]


@pytest.mark.parametrize("message", [Account.fail, Account.fail_later], ids=["plain", "async"])
@pytest.mark.parametrize("queued", [False, True])
async def test_a_crash_report_has_all_that_one_asks_for_and_no_secret(
    seen: Seen, message: Any, queued: bool
) -> None:
    ref, peer = await kb.start(Account, "ann"), await kb.start(Account, "bob")
    await ref.call(Account.link_to, peer)
    label = kb.info(ref).label
    token = kb.correlation_id.set("request 7")
    if queued:
        ref.suspend()
        ref.cast(message, "boom")
        ref.cast(Account.ping)
        ref.cast(Account.ping)
        ref.resume()
    else:
        with pytest.raises(kb.ActorExited):
            await ref.call(message, "boom")
    kb.correlation_id.reset(token)
    await ref.wait_exit(5)
    report = seen.only(CrashReport)

    assert (report.process, report.message) == (label, message.__qualname__)
    assert isinstance(report.error, ValueError)
    assert report.state == "{'owner': 'ann', 'password': '***'}"
    assert "hunter2" not in repr(report)
    assert report.links == (kb.info(peer).label,)
    assert report.waiting == (2 if queued else 0)
    assert report.correlation_id == "request 7"
    assert "raise ValueError(text)" in report.traceback()
    assert report.level == logging.ERROR
    assert await peer.wait_exit(5) == kb.Crashed(ValueError("boom"))
    assert len([event for event in seen if isinstance(event, Ended) and event.process == label]) == 1


async def test_a_crash_report_lists_the_ancestors_nearest_first(seen: Seen) -> None:
    async with kb.Supervisor(kb.child(Account, "ann").options(id="it")) as tree:
        await crashed(tree.ref(Account, "it"), Account.fail, "x")
        report = seen.only(CrashReport)

        assert len(report.ancestors) == 1
        assert report.process == f"{report.ancestors[0]}/it"


async def test_a_state_that_cannot_be_shown_does_not_spoil_the_report(seen: Seen) -> None:
    class Odd(Account):
        def format_status(self) -> object:
            raise RuntimeError("no words")

    ref = await kb.start(Odd, "ann")
    await crashed(ref, Account.fail, "x")

    assert "no words" in seen.only(CrashReport).state


async def test_a_crash_in_init_in_on_start_and_in_on_stop_is_reported(seen: Seen) -> None:
    class Fragile(kb.Actor):
        def __init__(self, where: str) -> None:
            self.where = where
            self.check("init")

        def check(self, place: str) -> None:
            if place == self.where:
                raise ValueError(place)

        async def on_start(self) -> None:
            self.check("start")

        def on_stop(self, reason: kb.ExitReason) -> None:
            self.check("stop")

    for where in ("init", "start"):
        with pytest.raises(kb.StartError):
            await kb.start(Fragile, where)
    ref = await kb.start(Fragile, "stop")
    with pytest.raises(kb.ActorExited):
        await ref.stop()

    assert ["init", "start", "stop"] == [str(event.error) for event in seen if isinstance(event, CrashReport)]


async def test_an_asked_for_end_is_no_crash(seen: Seen) -> None:
    async def body() -> None:
        raise kb.Stop("asked")

    await kb.spawn(body).wait_exit(5)
    ref = await kb.start(Account, "ann")
    ref.exit("told")
    await ref.wait_exit(5)

    assert [] == [event for event in seen if isinstance(event, CrashReport)]


async def test_a_message_that_nobody_handles_is_told_and_the_actor_goes_on(seen: Seen) -> None:
    ref = await kb.start(Account, "ann")
    ref.tell({"stray": 1})

    assert await ref.call(Account.ping) == "pong"
    assert seen.only(Unhandled) == Unhandled(kb.info(ref).label, "{'stray': 1}")
    await ref.stop()


async def test_a_message_that_a_full_mailbox_drops_is_told(seen: Seen) -> None:
    options = kb.child(Account, "ann").options(id="it", mailbox=2, overflow="drop_newest")
    async with kb.Supervisor(options) as tree:
        ref = tree.ref(Account, "it")
        ref.suspend()
        for _ in range(3):
            ref.cast(Account.ping)
        dropped = seen.only(Dropped)

        assert (dropped.message, dropped.limit) == ("Account.ping", 2)
        ref.resume()


async def test_a_handler_that_had_to_be_closed_by_force_is_told(seen: Seen) -> None:
    ref = await kb.start(Account, "ann")
    ref.cast(Account.stubborn)
    await wait_idle()
    assert "waiting" == kb.info(ref).state
    label = kb.info(ref).label
    ref.kill()
    await ref.wait_exit(5)

    assert seen.only(Stubborn) == Stubborn(label, "Account.stubborn")


async def test_restarts_and_giving_up_are_told_with_child_and_reason(seen: Seen) -> None:
    supervisor = kb.Supervisor(kb.child(Account, "ann").options(id="it"), max_restarts=1, within=60)

    async def fail_twice() -> None:
        async with supervisor as tree:
            ref = tree.ref(Account, "it")
            await crashed(ref, Account.fail, "one")
            await crashed(ref, Account.fail, "two")
            await asyncio.Event().wait()

    with pytest.raises(kb.SupervisorGaveUp):
        await fail_twice()
    restarted, given_up = seen.only(_events.Restarted), seen.only(_events.GivenUp)

    assert (restarted.child, restarted.reason, restarted.restarts) == (
        "'it'",
        kb.Crashed(ValueError("one")),
        1,
    )
    assert (given_up.child, given_up.reason) == ("'it'", kb.Crashed(ValueError("two")))


async def test_an_instrument_that_raises_hurts_neither_the_others_nor_the_actors(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("instrument")

    after: list[Event] = []
    instruments = this_node().instruments
    removes = [instruments.add(broken), instruments.add(after.append)]
    ref = await kb.start(Account, "ann")
    assert await ref.call(Account.ping) == "pong"
    await ref.stop()
    for remove in removes:
        remove()

    assert seen == after
    assert ["Started", "Ended"] == [type(event).__name__ for event in after]
    assert "instrument" in caplog.text


async def test_a_removed_instrument_hears_nothing_more() -> None:
    events: list[Event] = []
    remove = this_node().instruments.add(events.append)
    remove()
    remove()
    ref = await kb.start(Account, "ann")
    await ref.stop()

    assert events == []
    assert this_node().instruments.lifecycle is False


async def test_the_log_has_one_record_for_a_crash_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = await kb.start(Account, "ann")
    with caplog.at_level(logging.DEBUG, "koboshi"):
        await crashed(ref, Account.fail, "boom")
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]

    assert len(records) == 1
    assert "boom" in records[0].getMessage()
    assert "hunter2" not in records[0].getMessage()
    assert records[0].exc_info is not None


PROGRAM = """
import asyncio
import koboshi as kb

class Worker(kb.Actor):
    @kb.message
    def fail(self):
        raise ValueError("in here")
    @kb.message
    async def wait(self):
        await asyncio.sleep(60)

async def main():
    refs = [await kb.start(Worker) for _ in range(3)]
    refs[0].cast(Worker.fail)
    refs[1].cast(Worker.wait)
    refs[2].tell("stray")
    await refs[0].wait_exit(5)
    async with kb.Supervisor(kb.child(Worker).options(id="w"), max_restarts=0) as tree:
        tree.ref(Worker, "w").cast(Worker.fail)
        await asyncio.sleep(60)

try:
    asyncio.run(main())
except kb.SupervisorGaveUp:
    pass
"""


@pytest.mark.slow
def test_with_logging_left_alone_the_library_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    level = logging.getLogger("koboshi").level
    yield
    logging.getLogger("koboshi").setLevel(level)
