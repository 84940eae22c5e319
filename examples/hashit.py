"""Hashing processes that are linked, one of which is killed: first by hand, then with a supervisor.

Run it with:  .venv/bin/python examples/hashit.py

The first half is bare processes with receive loops: md5 and sha256 are linked, so the death of one takes the
other with it, and a process that traps exits starts both again. The second half says the same in child specs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import koboshi as kb

ALGORITHMS = ("md5", "sha256")


@dataclass(frozen=True)
class Compute:
    text: str
    reply_to: kb.ReplyTo[str]


async def hash_it(algorithm: str, partner: str) -> None:
    """Answers with digests, remembers them, and dies with its partner."""
    kb.register(algorithm)
    other = kb.whereis(partner)
    if other is not None:
        kb.link(other)
    seen: dict[str, str] = {}
    while True:
        match await kb.receive():
            case Compute(text, reply_to):
                digest = seen.setdefault(text, hashlib.new(algorithm, text.encode()).hexdigest())
                reply_to.send(digest)


async def keep_both(owner: kb.ActorRef[Any]) -> None:
    """A supervisor by hand: traps exits, and starts the pair again when both are gone."""
    kb.trap_exits()
    while True:
        pair = [kb.spawn_link(hash_it, name, ALGORITHMS[1 - place]) for place, name in enumerate(ALGORITHMS)]
        owner.tell("started")
        while pair:
            ended = await kb.receive(kb.Exit)
            if ended.sender == owner:
                raise kb.Stop(kb.Shutdown())  # and those that are linked to us end with us
            pair.remove(ended.sender)
            print(f"a hashing process ended with {ended.reason!r}")


def question(reply: kb.ReplyTo[str]) -> Compute:
    return Compute("koboshi", reply)


async def by_hand() -> None:
    kb.spawn_link(keep_both, kb.me())
    await kb.receive()
    first = await kb.named("sha256").ask(question)
    kb.named("md5").kill()
    await kb.receive()  # the pair has been started again
    again = await kb.named("sha256").ask(question)
    print("the same digest after the fall:", first == again)


class Hasher(kb.Actor):
    """The same as an actor: messages are methods, and the loop is the runtime's."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.seen: dict[str, str] = {}

    @kb.message
    def digest(self, text: str) -> str:
        return self.seen.setdefault(text, hashlib.new(self.algorithm, text.encode()).hexdigest())


async def main() -> None:
    await kb.spawn(by_hand).wait_exit()

    children = [kb.child(Hasher, name).options(id=name) for name in ALGORITHMS]
    async with kb.Supervisor(*children, strategy="one_for_all") as tree:
        md5, sha256 = (tree.ref(Hasher, name) for name in ALGORITHMS)
        print(await sha256.call(Hasher.digest, "koboshi"))
        md5.kill()
        await md5.wait_exit()
        await tree.wait_ready()
        print(await sha256.call(Hasher.digest, "koboshi"))
        print("restarts:", sorted((child.id, child.restarts) for child in await tree.which_children()))


if __name__ == "__main__":
    kb.run(main)
