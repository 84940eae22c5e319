"""Mailboxes against a model: whatever is sent, suspended, woken, overflown and killed, in any order.

Between two rules nothing runs, so the model is exact: it knows which messages wait, which are refused or
dropped, which callers and senders are told what, and what has been handled.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Any, cast

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import koboshi as kb
from koboshi._kernel._cell import Cell
from koboshi._kernel._node import this_node
from koboshi._kernel._start import launch
from koboshi._supervision._spec import ChildSpec

POLICIES = ("reject", "drop_newest", "drop_oldest", "crash")
# Passes of the loop after which nothing is left to do; each rule causes a handful of steps at most.
PASSES = 15


class Target(kb.Actor):
    """Handles each message at once, and writes it down where the model can see it."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    @kb.message
    def put(self, number: int) -> int:
        self.seen.append(number)
        return number

    def on_info(self, message: Any) -> None:
        self.seen.append(message)

    def on_down(self, down: kb.Down) -> None:
        self.seen.append(-1)


class MailboxMachine(RuleBasedStateMachine):
    """One actor, always suspended while messages are sent, so that they wait."""

    def __init__(self) -> None:
        super().__init__()
        # With debug, half of the time would go into keeping the stack of each callback.
        self.runner = asyncio.Runner(debug=False)
        self.seen: list[int] = []
        self.handled: list[int] = []  # what the model says that `seen` is
        self.waiting: deque[tuple[int, str]] = deque()  # number and kind of each message that waits
        self.room: deque[int] = deque()  # senders that wait for room
        self.futures: dict[int, asyncio.Future[Any]] = {}
        self.expected: dict[int, object] = {}  # what became of a call or send
        self.number = 0
        self.dead = False
        self.crashed = False

    @initialize(limit=st.integers(1, 4), policy=st.sampled_from(POLICIES))
    def start(self, limit: int, policy: str) -> None:
        self.limit, self.policy = limit, policy
        spec = kb.child(Target, self.seen).options(mailbox=limit, overflow=cast("Any", policy))

        async def begin() -> kb.ActorRef[Target]:
            return await started_with(spec)

        self.ref = self.runner.run(begin())
        self.settle(self.ref.suspend)

    def settle(self, action: Any = None) -> Any:
        """Do something on the loop and let everything that follows from it happen."""

        async def act() -> Any:
            result = None if action is None else action()
            for _ in range(PASSES):
                await asyncio.sleep(0)
            return result

        return self.runner.run(act())

    def next(self) -> int:
        self.number += 1
        return self.number

    # -- the model ---------------------------------------------------------------------------------

    def arrive(self, number: int, kind: str) -> object:
        """What becomes of a message that does not wait for room: None when it is in the mailbox."""
        if len(self.waiting) < self.limit:
            self.waiting.append((number, kind))
            return None
        if self.policy == "reject":
            return kb.MailboxFull
        if self.policy == "crash":
            self.end(crashed=True)
            return kb.ActorExited
        if self.policy == "drop_oldest":
            victim = next((each for each in self.waiting if each[1] != "down"), None)
            if victim is not None:
                self.waiting.remove(victim)
                if victim[1] == "call":
                    self.expected[victim[0]] = kb.MailboxFull
                self.waiting.append((number, kind))
                return None
        return kb.MailboxFull

    def end(self, *, crashed: bool = False) -> None:
        """The actor has ended: everybody who waits is told."""
        self.dead, self.crashed = True, crashed
        for number, kind in self.waiting:
            if kind == "call":
                self.expected[number] = kb.ActorExited
        for number in self.room:
            self.expected[number] = kb.NotRunning
        self.waiting.clear()
        self.room.clear()

    # -- what is done to it --------------------------------------------------------------------------

    @rule()
    def cast(self) -> None:
        number = self.next()
        refused = None if self.dead else self.arrive(number, "cast")
        self.send_now(lambda: self.ref.cast(Target.put, number), refused)

    @rule()
    def tell(self) -> None:
        number = self.next()
        refused = None if self.dead else self.arrive(number, "tell")
        self.send_now(lambda: self.ref.tell(number), refused)

    def send_now(self, action: Any, refused: object) -> None:
        def attempt() -> object:
            try:
                action()
            except kb.MailboxFull:
                return kb.MailboxFull
            return None

        # Other policies than "reject" lose a message without a word to its sender.
        assert (refused if self.policy == "reject" else None) == self.settle(attempt)

    @rule()
    def call(self) -> None:
        number = self.next()
        if self.dead:
            self.expected[number] = kb.NotRunning
        else:
            outcome = self.arrive(number, "call")
            if outcome is not None:
                self.expected[number] = outcome
        self.begin(number, lambda: self.ref.within(None).call(Target.put, number))

    @rule(count=st.integers(1, 3))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.send_one(self.next())

    def send_one(self, number: int) -> None:
        if self.dead:
            self.expected[number] = kb.NotRunning
        elif len(self.waiting) < self.limit and not self.room:
            self.waiting.append((number, "send"))
            self.expected[number] = None
        else:
            self.room.append(number)
        self.begin(number, lambda: self.ref.within(None).send(Target.put, number))

    def begin(self, number: int, make: Any) -> None:
        def act() -> None:
            self.futures[number] = asyncio.ensure_future(make())

        self.settle(act)

    @precondition(lambda self: not self.dead)
    @rule()
    def down_message(self) -> None:
        """A signal: never refused, never dropped, whatever the limit."""
        self.waiting.append((-1, "down"))

        def act() -> None:
            cell: Cell = self.ref._cell
            cell.post(
                (cell.info.on_down, kb.Down(cast("Any", None), self.ref, kb.Normal()), None, here(), None)
            )

        self.settle(act)

    @precondition(lambda self: not self.dead)
    @rule()
    def run_all(self) -> None:
        """Let it handle everything, and suspend it again."""
        while self.waiting or self.room:
            while self.waiting:
                number, kind = self.waiting.popleft()
                if kind != "given up":
                    self.handled.append(number)
                if kind == "call":
                    self.expected[number] = number
            while self.room and len(self.waiting) < self.limit:
                number = self.room.popleft()
                self.waiting.append((number, "send"))
                self.expected[number] = None
        self.settle(self.ref.resume)
        self.settle(self.ref.suspend)

    @precondition(lambda self: any(not future.done() for future in self.futures.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A caller or a sender gives up: what it has sent is not handled, but keeps its place."""
        number = data.draw(st.sampled_from([n for n, future in self.futures.items() if not future.done()]))
        if number in self.room:
            self.room.remove(number)
        self.waiting = deque((n, "given up") if n == number else (n, kind) for n, kind in self.waiting)
        self.expected[number] = asyncio.CancelledError
        self.settle(self.futures[number].cancel)

    # Not early: what comes after the end is soon told.
    @precondition(lambda self: not self.dead and self.number >= 12)
    @rule()
    def kill(self) -> None:
        self.end()
        self.settle(self.ref.kill)

    # -- what must hold ------------------------------------------------------------------------------

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if not hasattr(self, "ref"):
            return
        assert self.handled == self.seen
        for number, future in self.futures.items():
            assert future.done() == (number in self.expected), number
            if future.done():
                assert self.expected[number] == self.outcome(future), number
        if self.dead:
            assert not self.ref.alive
        else:
            info = self.runner.run(self.info())
            assert len(self.waiting) == info.mailbox
            assert "suspended" == info.state

    async def info(self) -> kb.ProcessInfo:
        return kb.info(self.ref)

    @staticmethod
    def outcome(future: asyncio.Future[Any]) -> object:
        if future.cancelled():
            return asyncio.CancelledError
        error = future.exception()
        return future.result() if error is None else type(error)

    def teardown(self) -> None:
        if hasattr(self, "ref"):
            self.settle(self.ref.kill)
            for future in self.futures.values():
                assert future.done()
                self.outcome(future)  # looked at, so that the loop has no complaint
        self.runner.close()


async def started_with(spec: ChildSpec[Target]) -> kb.ActorRef[Target]:
    """Start the actor of a spec without a supervisor around it, since nothing is to restart it."""

    def prepare(cell: Cell) -> None:
        cell.limit = spec.mailbox or cell.limit
        cell.own_traits().policy = spec.overflow

    return kb.ActorRef(launch(this_node(), Target._kb_info, spec.args, {}, None, prepare))


def here() -> Any:
    """A context of nobody."""
    return contextvars.Context()


def test_mailboxes_behave_as_their_model_says() -> None:
    # Shrinking takes longer than the limit of a test; the steps of a failure are few enough to be read.
    # With Phase.shrink added they become the fewest.
    chosen = settings(max_examples=80, stateful_step_count=25, phases=[Phase.generate], deadline=None)
    run_state_machine_as_test(MailboxMachine, settings=chosen)
