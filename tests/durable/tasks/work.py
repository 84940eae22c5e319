"""Tasks that the tests put; worker processes import them by these names."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec
from tests.notes import Notes

import koboshi as kb
from koboshi.durable.tasks import current

QUICK = kb.Backoff(0.01, 0.01, 1.0, 0.0)


class Size(msgspec.Struct, frozen=True):
    """A result of a declared type."""

    width: int
    height: int


@kb.task
def double(number: int) -> int:
    return 2 * number


@kb.task(retries=2, backoff=QUICK)
def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


@kb.task
def measure(path: str, scale: float = 1.0, *, border: int) -> Size:
    return Size(int(len(path) * scale), border)


@kb.task
def gather(*numbers: int, **named: int) -> list[int]:
    return [*numbers, *named.values()]


@kb.task
async def later(number: int) -> int:
    await asyncio.sleep(60.0)
    return number


meetings: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Barrier] = WeakKeyDictionary()


@kb.task
async def meet(members: int) -> int:
    """Ends when so many of them run at once."""
    return await meetings.setdefault(asyncio.get_running_loop(), asyncio.Barrier(members)).wait()


@kb.task
async def add(one: int, other: int = 1) -> int:
    return one + other


@kb.task(timeout=5.0, retries=1, backoff=QUICK)
async def hang_in_the_loop() -> None:
    await asyncio.Event().wait()


@kb.task(timeout=0.3, retries=1, backoff=QUICK)
def hang(note: str) -> None:
    with open(note, "a") as file:
        file.write("begun\n")
    while True:
        time.sleep(1.0)


@kb.task(retries=0)
def wait_for_ever(note: str) -> None:
    with open(note, "a") as file:
        file.write("begun\n")
    while True:
        time.sleep(1.0)


@kb.task(max_interruptions=2)
def kill_worker(note: str) -> None:
    with open(note, "a") as file:
        file.write("begun\n")
    os.kill(os.getpid(), signal.SIGKILL)


@kb.task(max_interruptions=2)
def kill_worker_once(note: str) -> str:
    path = Path(note)
    if not path.exists():
        path.write_text("begun")
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@kb.task(retries=1, backoff=QUICK)
def spend(account: str, cents: int, fails: bool = False) -> int:
    kb.transact("UPDATE account SET cents = cents - :cents WHERE name = :name", cents=cents, name=account)
    if fails:
        raise RuntimeError("after it has spent")
    return cents


@kb.task(retries=1, backoff=QUICK)
async def spend_in_the_loop(account: str, cents: int) -> None:
    kb.transact("UPDATE account SET cents = cents - :cents WHERE name = :name", cents=cents, name=account)


@kb.task(retries=1, backoff=QUICK)
def transact_nonsense() -> None:
    kb.transact("UPDATE no_such_table SET x = :x", x=1)


@kb.task(retries=0)
def wrong_result() -> int:
    return "text"  # type: ignore[return-value]


@kb.task(retries=3)
def large(size: int) -> bytes:
    return b"x" * size


@kb.task
def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")


@kb.task
async def fan_out(queue: str, store: str, count: int) -> None:
    other = kb.Queue(queue, store=store)
    for number in range(count):
        other.enqueue(double, number)


@kb.task
def fan_out_in_a_worker(queue: str, store: str, count: int) -> None:
    other = kb.Queue(queue, store=store)
    for number in range(count):
        other.options(id=f"child-{number}").enqueue(double, number)


#: Ids of the tasks that this process has run, in order.
RUNS: Notes[str] = Notes()


@kb.task
async def note_run() -> None:
    """Known twice: in this process, and in the database with its acknowledgement."""
    RUNS.append(current().id)
    await asyncio.sleep(0.05)
    kb.transact(
        "INSERT INTO ran (task, program) VALUES (:task, :program)", task=current().id, program=os.getpid()
    )


@kb.task
def say(text: str) -> str:
    return f"{text}, {text}"


@kb.task
async def say_in_the_loop(text: str) -> str:
    return f"{text}, {text}"


@kb.task(retries=1, backoff=QUICK)
def complain(text: str) -> None:
    raise ValueError(text)


#: What `gate` has begun, and what lets it end.
BEGUN: Notes[int] = Notes()
OPEN = asyncio.Event()


@kb.task(retries=0)
async def gate(number: int) -> int:
    BEGUN.append(number)
    try:
        await OPEN.wait()
    except asyncio.CancelledError:
        BEGUN.append(-number)
        raise
    return number


@kb.task
async def linger(number: int) -> None:
    """Takes its time, and says so when it has come to its end."""
    RUNS.append(str(number))
    await asyncio.sleep(0.3)
    print("ended", number, flush=True)


class Unspeakable(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class NoError(BaseException):
    """Passes every `except Exception`."""


WRONG = ["a call of its own", "an end", "a cancel", "a stop", "an exit", "no error", "no words", "half"]


def wrong(what: str) -> BaseException:
    """What a function may raise that looks as if it came from the queue itself, or cannot be told."""
    found: dict[str, BaseException] = {
        "a call of its own": kb.CallTimeout("somebody", "a question", 1.0, maybe_executed=True),
        "an end": kb.NotRunning("somebody", "a question"),
        "a cancel": asyncio.CancelledError(),
        "a stop": kb.Stop(),
        "an exit": SystemExit(3),
        "no error": NoError(),
        "no words": Unspeakable(),
        "half": ValueError("\ud800 \0"),
    }
    return found[what]


@kb.task(retries=1, backoff=QUICK)
def raise_in_a_worker(what: str) -> None:
    raise wrong(what)


@kb.task(retries=1, backoff=QUICK)
async def raise_in_the_loop(what: str) -> None:
    raise wrong(what)


@kb.task(retries=1, max_interruptions=1)
async def cancel_itself() -> None:
    own = asyncio.current_task()
    assert own is not None
    own.cancel()
    await asyncio.sleep(0)
