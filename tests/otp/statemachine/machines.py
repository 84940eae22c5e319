"""State machines for the tests; importable by worker nodes."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

from koboshi import otp


class Door(otp.StateMachine):
    """Closed, open, locked with a code."""

    class State(Enum):
        CLOSED = 1
        OPEN = 2
        LOCKED = 3

    initial = State.CLOSED

    def __init__(self, code: str = "1234") -> None:
        self.code = code
        self.entered: list[str] = []

    @otp.event
    def push(self) -> str:
        """Push it."""
        return self.unexpected()

    @otp.event
    def lock(self) -> None:
        self.unexpected()

    @otp.event
    def unlock(self, code: str) -> bool:
        return self.unexpected()

    @otp.event
    def log(self) -> list[str]:
        """What was entered so far; in any state."""
        return list(self.entered)

    @otp.event
    def pid(self) -> int:
        return os.getpid()

    @otp.when(State.CLOSED, push, to=State.OPEN)
    def open_it(self) -> str:
        return "opened"

    @otp.when(State.OPEN, push, to=State.CLOSED)
    def close_it(self) -> str:
        return "closed"

    @otp.when(State.CLOSED, lock, to=State.LOCKED)
    def lock_it(self) -> None:
        pass

    @otp.when(State.LOCKED, unlock, to=(State.CLOSED,))
    def try_code(self, code: str) -> bool:
        if code == self.code:
            self.go(self.State.CLOSED)
            return True
        return False

    @otp.when(otp.ANY_STATE, otp.ENTER)
    def note(self, old: Enum) -> None:
        self.entered.append(f"{old.name}->{self.state.name}")


class Recorder(otp.StateMachine):
    """Does what it is told, and writes down every event that it handles, in which state."""

    class State(Enum):
        A = 1
        B = 2

    initial = State.A

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    @otp.event
    def do(self, name: str, *actions: Any) -> str:
        return self.unexpected()

    @otp.event
    def told(self) -> list[tuple[str, Any]]:
        return self.seen

    @otp.when((State.A, State.B), do, to=(State.A, State.B))
    def carry_out(self, name: str, *actions: Any) -> str:
        self.seen.append((self.state.name, name))
        for action, *args in actions:
            match action:
                case "go":
                    self.go(self.State[args[0]])
                case "repeat":
                    self.repeat()
                case "postpone_in":
                    if self.state.name == args[0]:
                        self.postpone()
                case "insert":
                    self.insert(Recorder.do, *args)
                case "state_timeout":
                    self.set_state_timeout(*args)
                case "event_timeout":
                    self.set_event_timeout(*args)
                case "timeout":
                    self.set_timeout(*args)
                case "cancel":
                    self.cancel_timeout(*args)
                case "cancel_state":
                    self.cancel_state_timeout()
                case "update":
                    self.update_timeout(*args)
                case "stop":
                    self.stop(*args)
                case "fail":
                    raise ValueError(*args)
                case _:
                    raise AssertionError(action)
        return f"{name} done"

    @otp.when(otp.ANY_STATE, otp.ENTER)
    def enter(self, old: Enum) -> None:
        self.seen.append((self.state.name, f"enter from {old.name}"))

    @otp.when(otp.ANY_STATE, otp.INFO)
    def info(self, message: Any) -> None:
        self.seen.append((self.state.name, message))

    @otp.when(otp.ANY_STATE, otp.STATE_TIMEOUT)
    def state_over(self, payload: Any) -> None:
        self.seen.append((self.state.name, ("state timeout", payload)))

    @otp.when(otp.ANY_STATE, otp.EVENT_TIMEOUT)
    def silent(self, payload: Any) -> None:
        self.seen.append((self.state.name, ("event timeout", payload)))

    @otp.when(otp.ANY_STATE, otp.timeout("t"))
    def t_over(self, payload: Any) -> None:
        self.seen.append((self.state.name, ("t", payload)))

    @otp.when(otp.ANY_STATE, otp.timeout("u"))
    def u_over(self, payload: Any) -> None:
        self.seen.append((self.state.name, ("u", payload)))
