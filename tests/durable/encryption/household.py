"""One of each thing that durable actors store, all with the same keys and all about one secret."""

from __future__ import annotations

from enum import Enum

import msgspec
from tests.durable.changes import until

import koboshi as kb
from koboshi import otp

SECRET = "the-canary-sings-at-dawn"


class Diary(kb.DurableActor[list[str]]):
    @kb.message
    def add(self, line: str) -> str:
        self.state.append(line)
        return line

    @kb.message
    def pass_on(self, key: str, line: str) -> str:
        return self.forward(Household.now.diaries[key], Diary.add, line)

    @kb.message
    def pass_failure(self, key: str, line: str) -> None:
        return self.forward(Household.now.diaries[key], Diary.fail, line)

    @kb.message
    def send_on(self, key: str, line: str) -> None:
        self.send(Household.now.diaries[key], Diary.add, line)

    @kb.message
    def send_to(self, to: kb.DurableRef[Diary], line: str) -> None:
        self.send(to, Diary.add, line)

    @kb.message
    def fail_soon(self, line: str) -> None:
        self.remind("fail", Diary.fail, line, after=0.0)

    @kb.message
    def fail(self, line: str) -> None:
        raise ValueError(line)

    @kb.message
    def later(self, line: str, seconds: float) -> None:
        self.remind("later", Diary.add, line, after=seconds)

    @kb.query
    def lines(self) -> list[str]:
        return self.state


class Written(msgspec.Struct, frozen=True):
    line: str


class Notes(kb.EventSourced[tuple[str, ...]]):
    @kb.message
    def write(self, line: str) -> None:
        self.emit(Written(line))

    @kb.event
    @staticmethod
    def written(state: tuple[str, ...], event: Written) -> tuple[str, ...]:
        return (*state, event.line)

    @kb.query
    def lines(self) -> list[str]:
        return list(self.state)


class Index(kb.Projection[list[str]]):
    @kb.on
    def written(self, event: Written) -> None:
        self.state.append(event.line)

    @kb.query
    def lines(self) -> list[str]:
        return self.state


class Lock(kb.DurableStateMachine[list[str]]):
    class State(Enum):
        OPEN = 1
        SHUT = 2

    initial = State.OPEN
    final = (State.SHUT,)

    @otp.event
    def shut(self, code: str) -> list[str]:
        return self.unexpected()

    @otp.when(State.OPEN, otp.ENTER)
    def opened(self, old: Enum) -> None:
        self.set_state_timeout(86_400.0, payload=SECRET)

    @otp.when(State.OPEN, shut)
    def shutting(self, code: str) -> list[str]:
        self.data.append(code)
        return self.data

    @otp.when(State.OPEN, otp.STATE_TIMEOUT, to=State.SHUT)
    def expired(self, payload: object) -> None:
        self.data.clear()


async def whisper(line: str) -> str:
    return line


class Errand(kb.Saga[str, str]):
    async def run(self, line: str) -> str:
        said = await self.step("whisper", whisper, line)
        heard = await self.wait_event("echo", str)
        return said if said == heard else "misheard"


async def waits(errand: kb.SagaRef[str]) -> bool:
    return bool((await errand.status()).waiting)


class Household:
    """The kinds, with one ring."""

    now: Household

    def __init__(self, url: str, ring: kb.KeyRing | None) -> None:
        Household.now = self
        self.diaries = kb.durable(Diary, store=url, keys=ring, history=True, max_attempts=1)
        self.notes = kb.durable(Notes, store=url, keys=ring, snapshot_every_events=2)
        self.index = kb.projection(Index, of=self.notes)
        self.locks = kb.durable(Lock, store=url, keys=ring)
        self.errands = kb.sagas(Errand, store=url, keys=ring)

    def tree(self) -> kb.Supervisor:
        """All of it, to be run."""
        kinds = self.diaries, self.notes, self.index, self.locks, self.errands
        return kb.Supervisor(*(each.child() for each in kinds))

    async def live(self) -> None:
        """Have the secret stored in each way there is."""
        diaries = self.diaries
        await diaries["a"].request("r").call(Diary.add, SECRET)
        assert SECRET == await diaries["a"].request("f").call(Diary.pass_on, "b", SECRET)
        await diaries["a"].call(Diary.later, SECRET, 3_600.0)
        await diaries["b"].put(Diary.fail, SECRET)
        await until(lambda: diaries.statistics().dead_letters, diaries)
        for _ in range(3):
            await self.notes["n"].call(Notes.write, SECRET)
        await self.index.wait_for(self.notes["n"])
        await self.locks["l"].call(Lock.shut, SECRET)
        errand = await self.errands.start(SECRET, id="e")
        await until(lambda: waits(errand), self.errands)

    async def check(self) -> None:
        """All of it can be read."""
        diaries = self.diaries
        assert SECRET == await diaries["a"].request("r").call(Diary.add, SECRET)
        assert SECRET == await diaries["a"].request("f").call(Diary.pass_on, "b", SECRET)
        assert [SECRET] == await diaries["a"].call(Diary.lines) == await diaries["a"].as_of(1)
        assert [SECRET] == await diaries["b"].call(Diary.lines)
        assert [SECRET] * 3 == await self.notes["n"].call(Notes.lines)
        assert [SECRET] * 3 == [each.event.line for each in await self.notes["n"].history()]
        assert [SECRET] * 3 == await self.index.call(Index.lines)
        assert [SECRET, "1"] == await self.locks["l"].call(Lock.shut, "1")
        await self.errands["e"].signal("echo", SECRET)
        assert SECRET == await self.errands["e"].result(5.0)
