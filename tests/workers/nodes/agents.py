"""Actors of these tests, importable by worker nodes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import Any

from tests.workers.nodes import parcels

import koboshi as kb


class Agent(kb.Actor):
    """Does what a test asks of it, on whatever node it is, and keeps what it hears."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.heard: list[Any] = []
        self.waiting: list[kb.ReplyTo[list[Any]]] = []
        self.wanted = 0
        self.kept: Any = None

    def hear(self, what: Any) -> None:
        self.heard.append(what)
        if len(self.heard) >= self.wanted:
            for reply in self.waiting:
                reply.send(self.heard)
            self.waiting.clear()

    # -- messages

    @kb.message
    def note(self, what: Any) -> None:
        self.hear(what)

    @kb.message
    def heard_so_far(self) -> list[Any]:
        return self.heard

    @kb.message
    def once_heard(self, count: int) -> list[Any]:
        """Answers when it has heard so many things."""
        self.wanted = count
        if len(self.heard) >= count:
            return self.heard
        self.waiting.append(kb.defer())
        return []

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def echo(self, what: Any) -> Any:
        return what

    @kb.message
    def me_ref(self) -> kb.ActorRef[Any]:
        return self.me

    @kb.message
    def keep(self, what: Any) -> None:
        self.kept = what

    @kb.message
    def give(self) -> Any:
        return self.kept

    @kb.message
    def is_kept(self, what: Any) -> bool:
        return bool(self.kept == what) and hash(self.kept) == hash(what)

    @kb.message
    def correlation(self) -> str | None:
        return kb.correlation_id.get()

    @kb.message
    def left(self) -> float | None:
        return kb.time_left()

    @kb.message
    def answer_later(self) -> int:
        self.kept = kb.defer()
        return 0

    @kb.message
    def answer_now(self, value: int) -> bool:
        return bool(self.kept.send(value))

    @kb.message
    def nothing_to_pickle(self) -> Any:
        return lambda: None

    # -- ends

    @kb.message
    def fail(self, text: str) -> None:
        raise ValueError(text)

    @kb.message
    def fail_badly(self) -> None:
        raise TwoArguments("one", "two")

    @kb.message
    def end(self, reason: Any = None) -> str:
        self.stop(kb.Normal() if reason is None else reason)
        return "ended"

    @kb.message
    def end_with(self, kind: str) -> None:
        raise kb.Stop(kb.Exited(getattr(parcels, kind)()))

    @kb.message
    def exit_hard(self, code: int) -> None:
        os._exit(code)

    @kb.message
    def kill_process(self, number: int) -> None:
        os.kill(os.getpid(), number)

    @kb.message
    def spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    @kb.message
    def spin_in_c(self) -> None:
        re.match(r"(a+)+$", "a" * 64 + "b")

    @kb.message
    def stop_process(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    # -- ties

    @kb.message
    def watch(self, ref: kb.ActorRef[Any]) -> None:
        self.kept = kb.monitor(ref)

    @kb.message
    def unwatch(self) -> bool:
        return bool(self.kept.cancel())

    @kb.message
    def tie(self, ref: kb.ActorRef[Any]) -> None:
        kb.link(ref)

    @kb.message
    def untie(self, ref: kb.ActorRef[Any]) -> None:
        kb.unlink(ref)

    @kb.message
    def trap(self) -> None:
        self.trap_exits()

    @kb.message
    def send_exit(self, ref: kb.ActorRef[Any], reason: Any) -> None:
        ref.exit(reason)

    @kb.message
    def take_name(self, name: Any) -> None:
        kb.register(name)

    @kb.message
    def give_name(self, name: Any) -> bool:
        return kb.unregister(name)

    @kb.message
    def knows(self, name: Any) -> bool:
        return kb.whereis(name) is not None

    def on_info(self, message: Any, /) -> None:
        if isinstance(message, tuple) and message and message[0] == "ask":
            message[1].send(("answer", *message[2:]))
        else:
            self.hear(message)

    def on_down(self, down: kb.Down, /) -> None:
        self.hear(("down", down.reason))

    def on_exit(self, exit: kb.Exit, /) -> None:
        self.hear(("exit", exit.reason))

    # -- to others

    @kb.message
    def pester(self, ref: kb.ActorRef[Agent]) -> None:
        """What would end the process that rebuilds it, as a message and as an object; then something sane."""
        ref.cast(Agent.note, parcels.Leaves())
        ref.tell(parcels.Leaves())
        ref.tell(("pestered",))

    @kb.message
    async def call(self, ref: kb.ActorRef[Agent], what: Any) -> Any:
        return await ref.call(Agent.echo, what)

    @kb.message
    async def try_call(self, ref: kb.ActorRef[Agent], what: Any) -> Any:
        """The reply, or the error that came instead of one."""
        try:
            return await ref.call(Agent.echo, what)
        except kb.CallError as error:
            return error

    @kb.message
    async def call_when_room(self, ref: kb.ActorRef[Agent], count: int) -> list[Any]:
        """What the other has heard, as soon as its mailbox takes a call."""
        while True:
            try:
                return await ref.call(Agent.once_heard, count)
            except kb.MailboxFull:
                await asyncio.sleep(0)

    @kb.message
    async def call_through(self, path: list[kb.ActorRef[Agent]], what: Any) -> Any:
        """Calls the first of the path with the rest of it."""
        if not path:
            return what
        return await path[0].call(Agent.call_through, path[1:], what)

    @kb.message
    async def call_gated(self, gate: kb.ActorRef[Agent], ref: kb.ActorRef[Agent]) -> Any:
        """Waits for the gate to open, then calls."""
        await gate.call(Agent.once_heard, 1)
        return await ref.call(Agent.echo, self.name)

    @kb.message
    def cast_all(self, ref: kb.ActorRef[Agent], count: int) -> int:
        for number in range(count):
            ref.cast(Agent.note, (self.name, number))
        return count

    @kb.message
    def cast_and_die(self, ref: kb.ActorRef[Agent], count: int) -> None:
        self.cast_all(ref, count)
        self.stop()

    @kb.message
    async def send_all(self, ref: kb.ActorRef[Agent], count: int) -> int:
        for number in range(count):
            await ref.send(Agent.note, number)
        return count

    @kb.message
    async def name_call(self, name: Any, what: Any) -> Any:
        return await kb.named(Agent, name).call(Agent.echo, what)

    @kb.message
    async def wait_for(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TwoArguments(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class BadStart(kb.Actor):
    """Does not start, in the way that it is told."""

    def __init__(self, how: str) -> None:
        self.how = how
        if how == "init":
            raise ValueError("init")
        if how == "exit":
            os._exit(3)

    async def on_start(self) -> Any:
        if self.how == "on_start":
            raise ValueError("on_start")
        if self.how == "ignore":
            return kb.IGNORE
        if self.how == "hang":
            await asyncio.Event().wait()
        if self.how == "stop":
            raise kb.Stop(kb.Shutdown("not today"))
        return None


async def mirror() -> None:
    """A bare process: sends everything back to whoever it came from."""
    while True:
        match await kb.receive():
            case ("say", what, kb.Alias() as reply_to):
                reply_to.send(what)
            case "end":
                return


class CannotArrive:
    """Its pickle cannot be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("it exploded on arrival")
