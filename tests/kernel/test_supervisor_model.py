"""A supervisor against a small model of the rules, under random specs, crashes, requests and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.kernel.tree_actors import Log, Member
from tests.virtual import VirtualLoop

import koboshi as kb

WITHIN = 10.0
REASONS: dict[str, kb.ExitReason] = {
    "normal": kb.Normal(),
    "shutdown": kb.Shutdown(),
    "crash": kb.Exited("crash"),
}


@dataclass
class Modelled:
    """One child by the rules: what it is, whether it is up, and whether its next starts fail."""

    name: str
    restart: str
    up: bool = True
    failing: int = 0


@dataclass
class Model:
    """The rules, told by hand: who is up after each step, and what was started and stopped in what order."""

    strategy: str
    most: int
    children: list[Modelled] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    log: Log = field(default_factory=Log)
    gave_up: bool = False

    def find(self, name: str) -> Modelled:
        return next(child for child in self.children if child.name == name)

    def stop(self, child: Modelled) -> None:
        if child.up:
            self.log.append(f"stop {child.name}")
        child.up = False

    def try_start(self, child: Modelled) -> bool:
        if child.failing:
            child.failing -= 1
            self.log.append(f"fail {child.name}")
            return False
        self.log.append(f"start {child.name}")
        child.up = True
        return True

    def ended(self, child: Modelled, reason: str, now: float) -> None:
        self.stop(child)
        if child.restart == "temporary":
            self.children.remove(child)
        elif child.restart == "permanent" or reason == "crash":
            self.restart(child, now)

    def restart(self, failed: Modelled, now: float) -> None:
        while True:
            self.stamps = [at for at in self.stamps if now - at <= WITHIN] + [now]
            if len(self.stamps) > self.most:
                self.gave_up = True
                for child in reversed(self.children):
                    self.stop(child)
                return
            again = self.group_start(failed)
            if again is None:
                return
            failed = again

    def group_start(self, failed: Modelled) -> Modelled | None:
        at = self.children.index(failed)
        group = {"one_for_one": [failed], "one_for_all": self.children[:], "rest_for_one": self.children[at:]}
        members = group[self.strategy]
        for child in reversed(members):
            self.stop(child)
            if child.restart == "temporary":
                self.children.remove(child)
        for child in members:
            if child.restart != "temporary" and not self.try_start(child):
                return child
        return None


class Programmed(Member):
    """Fails as many starts as its model says."""

    def on_start(self) -> object:
        if self.fail():
            self.log.append(f"fail {self.name}")
            raise RuntimeError("as planned")
        self.log.append(f"start {self.name}")
        return None

    def on_stop(self, reason: kb.ExitReason) -> None:
        self.log.append(f"stop {self.name}")


STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
KINDS = st.lists(st.sampled_from(["permanent", "transient", "temporary"]), min_size=1, max_size=5)


class SupervisorMachine(RuleBasedStateMachine):
    """Drives a real supervisor and the model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.loop.set_debug(False)  # half of the time would go into keeping the stack of each callback
        self.log = Log()
        self.failing: dict[str, int] = {}
        self.number = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def spec(self, restart: str) -> kb.ChildSpec[Programmed]:
        self.number += 1
        name = f"c{self.number}"
        self.failing[name] = 0

        def fails() -> bool:
            planned = self.failing[name] > 0
            self.failing[name] -= planned
            return planned

        return kb.child(Programmed, self.log, name, fails).options(id=name, restart=restart)  # type: ignore[arg-type]

    @initialize(strategy=STRATEGIES, most=st.integers(0, 4), kinds=KINDS)
    def begin(self, strategy: Any, most: int, kinds: list[str]) -> None:
        self.start(strategy, most, kinds)

    @precondition(lambda self: self.model.gave_up)
    @rule(strategy=STRATEGIES, most=st.integers(0, 4), kinds=KINDS)
    def a_new_one_takes_over(self, strategy: Any, most: int, kinds: list[str]) -> None:
        assert kb.NotRunning is self.request(kb.Supervisor.count_children)
        self.start(strategy, most, kinds)

    def start(self, strategy: Any, most: int, kinds: list[str]) -> None:
        self.log.clear()
        specs = [self.spec(kind) for kind in kinds]
        self.model = Model(strategy, most, [Modelled(spec.id, spec.restart) for spec in specs])
        self.model.log += [f"start {spec.id}" for spec in specs]

        async def start() -> kb.ActorRef[kb.Supervisor]:
            return await kb.start(kb.Supervisor, *specs, strategy=strategy, max_restarts=most, within=WITHIN)

        self.ref = self.run(start()).within(None)

    def request(self, message: Any, *args: Any) -> Any:
        """What a request brings: its reply, or the type of what it raised."""

        async def ask() -> Any:
            try:
                return await self.ref.call(message, *args)
            except kb.KoboshiError as refused:
                return type(refused)

        return self.run(ask())

    def alive(self) -> bool:
        return not self.model.gave_up

    def pick(self, index: int) -> Modelled | None:
        return self.model.children[index % len(self.model.children)] if self.model.children else None

    @precondition(alive)
    @rule(
        index=st.integers(0, 9),
        reason=st.sampled_from(sorted(REASONS)),
        victim=st.integers(0, 9),
        starts=st.sampled_from([0, 0, 0, 1, 2, 4]),
    )
    def a_child_ends_and_some_next_starts_fail(
        self, index: int, reason: str, victim: int, starts: int
    ) -> None:
        child, failing = self.pick(index), self.pick(victim)
        if child is None or failing is None or not child.up:
            return
        failing.failing = self.failing[failing.name] = starts

        async def end() -> None:
            ref = await self.ref.call(kb.Supervisor.child, child.name)
            pid: kb.ActorRef[Any] = kb.ActorRef(ref._target())
            pid.cast(Member.end, REASONS[reason])
            await pid.wait_exit()

        self.run(end())
        self.request(kb.Supervisor.wait_ready)
        self.model.ended(child, reason, self.loop.time())
        # Whatever was not used up is taken back on both sides.
        failing.failing = self.failing[failing.name] = 0

    @precondition(alive)
    @rule(index=st.integers(0, 9))
    def a_child_is_terminated(self, index: int) -> None:
        child = self.pick(index)
        if child is not None:
            assert self.request(kb.Supervisor.terminate_child, child.name) is None
            self.model.stop(child)
            if child.restart == "temporary":
                self.model.children.remove(child)

    @precondition(alive)
    @rule(index=st.integers(0, 9))
    def a_child_is_restarted_by_hand(self, index: int) -> None:
        child = self.pick(index)
        if child is not None:
            reply = self.request(kb.Supervisor.restart_child, child.name)
            assert (reply is kb.ChildRunning) == child.up
            if not child.up:
                self.model.try_start(child)

    @precondition(alive)
    @rule(index=st.integers(0, 9))
    def a_child_is_deleted(self, index: int) -> None:
        child = self.pick(index)
        if child is not None:
            reply = self.request(kb.Supervisor.delete_child, child.name)
            assert (reply is kb.ChildRunning) == child.up
            if not child.up:
                self.model.children.remove(child)

    @precondition(alive)
    @rule(kind=st.sampled_from(["permanent", "transient", "temporary"]))
    def a_child_is_added(self, kind: str) -> None:
        spec = self.spec(kind)
        assert isinstance(self.request(kb.Supervisor.start_child, spec), kb.ActorRef)
        self.model.children.append(Modelled(spec.id, kind))
        self.model.log.append(f"start {spec.id}")

    @precondition(alive)
    @rule(seconds=st.sampled_from([0.5, 4.0, WITHIN, WITHIN + 1]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "ref"):
            return
        if self.model.gave_up:
            reason = self.run(self.ref.wait_exit(100.0))
            assert isinstance(reason, kb.Shutdown)
            assert isinstance(reason.detail, kb.GaveUp)
            assert 0 == len(
                [cell for cell in self.ref._cell.node.cells.values() if cell.info.cls is Programmed]
            )
        else:
            self.request(kb.Supervisor.wait_ready)
            shown = [
                (info.id, info.status == "running")
                for info in reversed(self.request(kb.Supervisor.which_children))
            ]
            assert [(child.name, child.up) for child in self.model.children] == shown
        assert self.model.log == self.log

    def teardown(self) -> None:
        if hasattr(self, "ref") and self.ref.alive:
            self.run(self.ref.stop())
            for child in reversed(self.model.children):
                self.model.stop(child)
            assert self.model.log == self.log
        self.loop.close()


SupervisorMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestSupervisorFollowsItsRules = SupervisorMachine.TestCase
