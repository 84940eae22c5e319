"""Actors for the tests of supervision: they write down what happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.notes import Notes

import koboshi as kb

#: What they write, which can be waited for.
Log = Notes[str]


class Member(kb.Actor):
    """Logs its start and its end. `fail` says, at each start, whether that start is to fail."""

    def __init__(self, log: Log, name: str, fail: Callable[[], object] = lambda: None) -> None:
        self.log = log
        self.name = name
        self.fail = fail

    def on_start(self) -> object:
        outcome = self.fail()
        if outcome is kb.IGNORE:
            self.log.append(f"ignore {self.name}")
            return outcome
        if outcome:
            self.log.append(f"fail {self.name}")
            raise RuntimeError(f"{self.name} does not start")
        self.log.append(f"start {self.name}")
        return None

    def on_stop(self, reason: kb.ExitReason) -> Any:
        self.log.append(f"stop {self.name} {type(reason).__name__}")

    @kb.message
    def crash(self, text: str = "asked to") -> None:
        raise ValueError(text)

    @kb.message
    def end(self, reason: kb.ExitReason) -> None:
        self.stop(reason)

    @kb.message
    def whoami(self) -> str:
        return self.name


class SlowMember(Member):
    """Its start waits for a gate that all instances of one name share."""

    def __init__(
        self, log: Log, name: str, gate: asyncio.Event, fail: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(log, name, fail)
        self.gate = gate

    async def on_start(self) -> object:
        self.log.append(f"begin {self.name}")
        await self.gate.wait()
        return super().on_start()


class Stubborn(Member):
    """Takes `seconds` to stop."""

    def __init__(self, log: Log, name: str, seconds: float) -> None:
        super().__init__(log, name)
        self.seconds = seconds

    async def on_stop(self, reason: kb.ExitReason) -> None:
        await asyncio.sleep(self.seconds)
        self.log.append(f"stop {self.name} {type(reason).__name__}")


class Failing:
    """Decides the outcome of each start in turn; when the list is used up, starts succeed."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def __call__(self) -> object:
        self.calls += 1
        return self.outcomes.pop(0) if self.outcomes else None


def member(
    log: Log, name: str, fail: Callable[[], object] = lambda: None, /, **options: Any
) -> kb.ChildSpec[Member]:
    """The spec of a member whose id is its name."""
    return kb.child(Member, log, name, fail).options(id=name, **options)


def stubborn(log: Log, name: str, seconds: float, /, **options: Any) -> kb.ChildSpec[Stubborn]:
    """The spec of a member that takes `seconds` to stop."""
    return kb.child(Stubborn, log, name, seconds).options(id=name, **options)


def slow(
    log: Log, name: str, gate: asyncio.Event, fail: Callable[[], object] = lambda: None, /, **options: Any
) -> Any:
    """The spec of a member whose start waits for the gate."""
    return kb.child(SlowMember, log, name, gate, fail).options(id=name, **options)


async def crash(tree: kb.Supervisor, id: Any, times: int = 1) -> None:
    """Crash a child and wait until its supervisor has done with it."""
    for _ in range(times):
        ref = tree.ref(Member, id)
        pid = (await child_info(tree, id)).ref
        assert pid is not None
        ref.cast(Member.crash)
        await pid.wait_exit()
        await tree.count_children()  # its turn comes behind the exit message


async def end(tree: kb.Supervisor, id: Any, reason: kb.ExitReason) -> None:
    """End a child with a reason and wait until its supervisor has done with it."""
    pid = (await child_info(tree, id)).ref
    assert pid is not None
    tree.ref(Member, id).cast(Member.end, reason)
    await pid.wait_exit()
    await tree.count_children()


async def child_info(tree: kb.Supervisor, id: Any) -> kb.ChildInfo:
    """One child as `which_children` shows it."""
    return next(info for info in await tree.which_children() if info.id == id)


async def statuses(tree: kb.Supervisor) -> dict[Any, str]:
    """The status of each child, in start order."""
    return {info.id: info.status for info in reversed(await tree.which_children())}
