"""A host of durable accounts, to be hurt: `python -m tests.chaos.host URL LEASE`.

It takes one JSON command a line on stdin and gives one JSON reply a line on stdout. It ends when stdin does.
`CHAOS_BUG` names a mistake that it plants in itself; see `planted`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

import msgspec
from tests.chaos import keys, planted

import koboshi as kb

# Seconds until a host gives up a command; somebody else is asked then.
PATIENCE = 1.0
# Nothing was recorded, and nothing of it will be.
CERTAIN = (kb.StoreUnavailable, kb.Fenced, kb.Refused, kb.Corrupted, kb.OwnedElsewhere, kb.MailboxFull)


class Book(msgspec.Struct):
    """The state of an account: its balance, and each of its turns as revision, what, id, other, cents."""

    cents: int = 0
    entries: list[tuple[int, str, str, str, int]] = []


class Account(kb.DurableActor[Book]):
    """Writes down each of its turns, so that a checker can read what has happened to it."""

    def _note(self, what: str, id: str, other: str = "", cents: int = 0) -> int:
        revision = self.revision + 1
        self.state.entries.append((revision, what, id, other, cents))
        return revision

    @kb.message
    def open(self, id: str, other: str, cents: int) -> int:
        """Pay in from outside."""
        self.state.cents += cents
        return self._note("open", id, other, cents)

    @kb.message
    def out(self, id: str, other: str, cents: int) -> int:
        """Transfer to another account."""
        if cents > self.state.cents:
            raise kb.Refused(f"{self.key} has {self.state.cents} and not {cents}")
        self.state.cents -= cents
        self.send(account(other), Account.receive, id, self.key, cents)
        return self._note("out", id, other, cents)

    @kb.message
    def receive(self, id: str, other: str, cents: int) -> None:
        """What a transfer sends."""
        self.state.cents += cents
        self._note("in", id, other, cents)

    @kb.message
    def note(self, id: str, other: str, cents: int) -> int:
        """Be reminded soon."""
        self.remind(id, Account.rang, id, after=0.1)
        return self._note("note", id)

    @kb.message
    def rang(self, id: str) -> None:
        """What a reminder sends."""
        self._note("rang", id)

    @kb.query
    def look(self) -> tuple[int, int, list[tuple[int, str, str, str, int]]]:
        """Everything, with the revision."""
        return self.state.cents, self.revision, self.state.entries


accounts: kb.Durable[Account]
vaults: kb.Durable[Account]
MESSAGES: dict[str, Any] = {"open": Account.open, "out": Account.out, "note": Account.note}


def account(name: str) -> kb.DurableRef[Account]:
    """An account; every second one is a vault, which is encrypted."""
    return (vaults if keys.is_sealed(name) else accounts)[name]


def say(line: dict[str, Any]) -> None:
    """One line to whoever started this."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Refusals(logging.Handler):
    """Tells of writes that the fence has refused."""

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and any(isinstance(each, kb.Fenced) for each in record.args):
            say({"event": "fenced"})


def is_certain(error: Exception) -> bool:
    """Whether the error says that nothing has happened and nothing will."""
    if isinstance(error, (kb.CallTimeout, kb.ActorExited)):
        return not error.maybe_executed
    return isinstance(error, CERTAIN)


async def obey(command: dict[str, Any]) -> Any:
    """Do what is asked, and give what came of it."""
    ref = account(command["account"]).within(PATIENCE)
    if command["do"] == "look":
        return await ref.call(Account.look)
    message = MESSAGES[command["do"]]
    arguments = command["id"], command["other"], command["cents"]
    match command["how"]:
        case "put":
            await ref.request(command["id"]).put(message, *arguments)
            return 0
        case "request":
            return await ref.request(command["id"]).call(message, *arguments)
        case _:
            return await ref.call(message, *arguments)


async def answer(command: dict[str, Any]) -> None:
    """Obey and reply."""
    try:
        value = await obey(command)
    except kb.KoboshiError as error:
        reply = {"error": type(error).__name__, "certain": is_certain(error), "text": str(error)[:200]}
    else:
        reply = {"ok": value}
    say({"number": command["number"], **reply})


async def main(url: str, lease: float) -> None:
    """Serve until stdin ends."""
    global accounts, vaults
    accounts = kb.durable(Account, store=url, lease=lease, deactivate_after=1.0)
    ring = keys.ring(os.environ.get(keys.VARIABLE, ""))
    vaults = kb.durable(Account, store=url, type="Vault", lease=lease, deactivate_after=1.0, keys=ring)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    log = logging.getLogger("koboshi.durable")
    log.setLevel(logging.INFO)
    log.addHandler(Refusals())
    log.propagate = os.environ.get("CHAOS_LOG") == "1"
    async with kb.Supervisor(accounts.child(), vaults.child()), asyncio.TaskGroup() as group:
        say({"event": "up"})
        while line := await reader.readline():
            command = json.loads(line)
            if command["do"] == "die":
                planted.die_at(command["boundary"])
            else:
                group.create_task(answer(command))


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(process)d %(message)s", stream=sys.stderr)
    planted.plant(os.environ.get("CHAOS_BUG", ""))
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
