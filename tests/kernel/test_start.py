"""The start of an actor: whole, or nothing of it is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.virtual import run_virtual

import koboshi as kb


class Recorder(kb.Actor):
    """Keeps a record that outlives it."""

    def __init__(self, record: list[Any]) -> None:
        self.record = record

    @kb.message
    def put(self, entry: Any) -> Any:
        self.record.append(entry)
        return entry

    @kb.message
    def crash(self) -> None:
        raise ValueError("torn")


async def test_on_start_ends_before_the_first_message() -> None:
    class Starting(Recorder):
        async def on_start(self) -> None:
            self.me.cast(Recorder.put, "cast from on_start")
            await asyncio.sleep(0)
            self.record.append("started")

    record: list[Any] = []
    ref = await kb.start(Starting, record)
    await ref.call(Recorder.put, "first")

    assert ["started", "cast from on_start", "first"] == record


async def test_start_waits_for_on_start() -> None:
    gate = asyncio.Event()

    class Slow(kb.Actor):
        async def on_start(self) -> None:
            await gate.wait()

    start = asyncio.ensure_future(kb.start(Slow))
    await asyncio.sleep(0)
    assert not start.done()
    gate.set()

    assert (await start).alive


class Failing(kb.Actor):
    """Fails to start in one of several ways, after it has taken a name."""

    def __init__(self, way: str, name: str) -> None:
        self.way = way
        kb.register(name)
        if way == "init":
            raise ValueError("torn")

    def on_start(self) -> Any:
        if self.way == "start":
            raise ValueError("torn")
        if self.way == "stop":
            self.stop(kb.Shutdown("no need"))
        if self.way == "raise stop":
            raise kb.Stop(kb.Shutdown("no need"))
        if self.way == "ignore":
            return kb.IGNORE
        return self.later() if self.way.startswith("async") else None

    async def later(self) -> Any:
        await asyncio.sleep(0)
        if self.way == "async":
            raise ValueError("torn")
        if self.way == "async stop":
            self.stop(kb.Shutdown("no need"))
        return kb.IGNORE if self.way == "async ignore" else None

    def on_stop(self, reason: kb.ExitReason) -> None:
        raise AssertionError("on_stop runs only after a complete start")


FAILURES: dict[str, kb.ExitReason | None] = {
    "init": kb.Crashed(ValueError("torn")),
    "start": kb.Crashed(ValueError("torn")),
    "async": kb.Crashed(ValueError("torn")),
    "stop": kb.Shutdown("no need"),
    "raise stop": kb.Shutdown("no need"),
    "async stop": kb.Shutdown("no need"),
    "ignore": None,
    "async ignore": None,
}


@pytest.mark.parametrize("way", FAILURES)
async def test_when_a_start_raises_everything_of_it_is_gone_and_its_name_is_free(way: str) -> None:
    cells = len(kb.processes())
    reason = FAILURES[way]
    for _ in range(3):  # at once, as a retry would
        with pytest.raises(kb.Ignored if reason is None else kb.StartError) as caught:
            await kb.start(Failing, way, "failing")
        assert kb.whereis("failing") is None
        assert cells == len(kb.processes())
        if reason is not None:
            assert isinstance(caught.value, kb.StartError)
            assert reason == caught.value.reason
            assert ("ValueError" in repr(caught.value.__cause__)) == isinstance(reason, kb.Crashed)

    assert (await kb.start(Failing, "not at all", "failing")).alive


async def test_a_name_that_is_taken_runs_no_second_start() -> None:
    runs: list[int] = []

    class Named(kb.Actor):
        def on_start(self) -> None:
            runs.append(1)

    specs = [kb.child(Named).options(id=number, name="only one") for number in range(2)]
    async with kb.Supervisor(specs[0]) as tree:
        with pytest.raises(kb.NameTaken) as caught:
            await tree.start_child(specs[1])
        assert tree.ref(Named, 0).alive
        assert kb.whereis("only one") == caught.value.owner

    assert [1] == runs


def test_a_start_that_takes_too_long_is_killed_and_nothing_of_it_is_left() -> None:
    async def main() -> None:
        class Forever(kb.Actor):
            async def on_start(self) -> None:
                kb.register("forever")
                await asyncio.get_running_loop().create_future()

        async with kb.Supervisor() as tree:
            cells = len(kb.processes())
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(kb.StartTimeout) as caught:
                await tree.start_child(kb.child(Forever).options(start_timeout=2.0))

            assert 2.0 == pytest.approx(loop.time() - began)
            assert isinstance(caught.value.reason, kb.Killed)
            assert kb.whereis("forever") is None
            assert cells == len(kb.processes())
            assert [] == await tree.which_children()

    run_virtual(main)


class Parent(kb.Actor):
    """Starts a linked child that fails."""

    def __init__(self, traps: bool) -> None:
        self.trap_exits(traps)
        self.exits: list[kb.Exit] = []

    @kb.message
    async def start_child(self, way: str) -> str:
        try:
            await kb.start_link(Failing, way, "linked")
        except (kb.StartError, kb.Ignored) as error:
            return repr(error)
        return "started"

    @kb.message
    def received(self) -> list[kb.Exit]:
        return self.exits

    def on_exit(self, exit: kb.Exit) -> None:
        self.exits.append(exit)


@pytest.mark.parametrize("way", ["init", "async", "stop"])
async def test_a_failed_start_link_ends_a_parent_that_does_not_trap(way: str) -> None:
    parent = await kb.start(Parent, False)
    parent.cast(Parent.start_child, way)

    assert FAILURES[way] == await parent.wait_exit()


@pytest.mark.parametrize("way", FAILURES)
async def test_a_failed_start_link_gives_a_trapping_parent_the_error_and_no_exit(way: str) -> None:
    parent = await kb.start(Parent, True)

    assert "started" != await parent.call(Parent.start_child, way)
    assert [] == await parent.call(Parent.received)
    assert 0 == kb.info(parent).links


@pytest.mark.parametrize("way", ["ignore", "async ignore"])
async def test_an_ignored_start_link_leaves_its_parent_alone(way: str) -> None:
    parent = await kb.start(Parent, False)

    assert "Ignored" in await parent.call(Parent.start_child, way)
    assert parent.alive
