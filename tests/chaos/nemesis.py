"""What happens to the hosts and the store of a run, chosen by a seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from tests.chaos.client import Client
from tests.chaos.fleet import Fleet, Host, HostGone
from tests.chaos.keys import VARIABLE, is_sealed
from tests.chaos.sites import Site

__all__ = ["KINDS", "Nemesis"]

ALWAYS = (
    *("killed", "killed_in_commit", "paused", "restored"),
    *("row_corrupted", "rows_swapped", "old_row", "wrong_key"),
)
KINDS = (*ALWAYS, "disk_full", "server_killed")
# What happens more often than the others, which stop everything.
_OFTEN = ("killed", "killed_in_commit", "paused") * 2
# Statements of a group at the most, from its BEGIN to its COMMIT.
_BOUNDARIES = 40
# Seconds for something to be seen that surely comes.
_PATIENCE = 30.0


class Nemesis:
    """Hurts one fleet and its store.

    Args:
        lease: of the hosts, in seconds.
    """

    def __init__(
        self, fleet: Fleet, site: Site, chance: random.Random, lease: float, only: tuple[str, ...]
    ) -> None:
        self._fleet = fleet
        self._site = site
        self._chance = chance
        self._lease = lease
        kinds = (*ALWAYS, *_OFTEN, *sorted(site.can))
        self._kinds = [kind for kind in kinds if not only or kind in only]
        self._bag: list[str] = []
        self.faults: Counter[str] = Counter()
        self.violations: list[str] = []
        #: The moments of the last round from which to which something was done.
        self.timeline: list[tuple[int, int, str]] = []

    async def hurt(self, client: Client, count: int, until: float) -> None:
        """So many faults, one after the other, or fewer if it gets too late, but one; all is well at the end."""
        acts: dict[str, Callable[[Client], Awaitable[None]]] = {
            "killed": self._kill,
            "killed_in_commit": self._kill_in_commit,
            "paused": self._pause,
            "restored": self._restore,
            "row_corrupted": self._corrupt,
            "rows_swapped": self._swap,
            "old_row": self._put_old_row,
            "wrong_key": self._take_key,
            "disk_full": self._break_down,
            "server_killed": self._break_down,
        }
        self.timeline.clear()
        await self._flow(client, 0.0)
        for number in range(count):
            if number and asyncio.get_running_loop().time() >= until:
                break
            if not self._bag:
                self._bag = self._chance.sample(self._kinds, len(self._kinds))
            kind = self._bag.pop()
            since = client.history.moment()
            await acts[kind](client)
            self.timeline.append((since, client.history.moment(), kind))
            self.faults[kind] += 1
            await self._flow(client, self._chance.uniform(0.05, 0.6))

    async def _flow(self, client: Client, seconds: float) -> None:
        """Let work be done: so many seconds, and some replies."""
        loop = asyncio.get_running_loop()
        wanted, deadline = len(client.history.acknowledged) + 10, loop.time() + _PATIENCE
        await asyncio.sleep(seconds)
        while len(client.history.acknowledged) < wanted:
            if loop.time() > deadline:
                self.violations.append(f"no 10 replies came within {_PATIENCE} s of a fault")
                return
            await asyncio.sleep(0.02)

    # -- hosts -------------------------------------------------------------------------------------

    async def _kill(self, client: Client) -> None:
        for host in self._some():
            host.kill()

    async def _kill_in_commit(self, client: Client) -> None:
        for host in self._some():
            try:
                host.send({"do": "die", "boundary": self._chance.randrange(1, _BOUNDARIES)})
            except HostGone:
                continue
            await asyncio.wait_for(host.process.wait(), _PATIENCE)

    async def _pause(self, client: Client) -> None:
        """Stop a host for longer than its lease, and let it wake among those who took over."""
        for host in self._some()[:1]:
            host.kill(signal.SIGSTOP)
            await asyncio.sleep(self._lease * self._chance.uniform(1.2, 2.0))
            host.kill(signal.SIGCONT)

    def _some(self) -> list[Host]:
        """One of the hosts, or sometimes more."""
        up = self._fleet.up
        return self._chance.sample(up, min(len(up), self._chance.choice((1, 1, 2, 3))))

    # -- the store ---------------------------------------------------------------------------------

    async def _restore(self, client: Client) -> None:
        """Take an image, go on, and put it back."""
        await self._fleet.stop()
        await self._site.take_image()
        taken = client.history.moment()
        self._fleet.start()
        await self._flow(client, self._chance.uniform(0.1, 1.0))
        await self._fleet.stop()
        await self._site.put_image()
        client.history.restore(taken)
        self._fleet.start()

    async def _corrupt(self, client: Client) -> None:
        [name] = self._chance.sample(client.accounts, 1)
        await self._fleet.stop()
        state = await self._site.state(name)
        if state:
            place = self._chance.randrange(len(state))
            bad = bytes([*state[:place], state[place] ^ 1 << self._chance.randrange(8), *state[place + 1 :]])
            await self._damage(client, {name: (state, bad)})
        self._fleet.start()

    async def _swap(self, client: Client) -> None:
        first, second = self._chance.sample(client.accounts, 2)
        await self._fleet.stop()
        one, other = await self._site.state(first), await self._site.state(second)
        if one and other:
            await self._damage(client, {first: (one, other), second: (other, one)})
        self._fleet.start()

    async def _put_old_row(self, client: Client) -> None:
        [name] = self._chance.sample(client.accounts, 1)
        await self._fleet.stop()
        old = await self._site.state(name)
        self._fleet.start()
        await self._flow(client, 0.3)
        await self._fleet.stop()
        state = await self._site.state(name)
        if old and state and old != state:
            await self._damage(client, {name: (state, old)})
        self._fleet.start()

    async def _take_key(self, client: Client) -> None:
        """Start all hosts with another key: what is encrypted must refuse, and the work of all others goes on."""
        await self._fleet.stop()
        sealed = {name for name in client.accounts if is_sealed(name) and await self._site.state(name)}
        self._fleet.start(**{VARIABLE: "wrong"})
        # One that has no row yet may get its first one now, with the key that is there.
        unknown = {name for name in client.accounts if is_sealed(name)} - sealed
        await self._refused(client, sealed, ("WrongKey",), "with a wrong key", but=unknown)
        await self._flow(client, 0.3)
        await self._fleet.stop()
        self._fleet.start()

    async def _damage(self, client: Client, rows: dict[str, tuple[bytes, bytes]]) -> None:
        """Have these accounts refuse to start and all others go on; then put back what was there."""
        for name, (_, bad) in rows.items():
            await self._site.put_state(name, bad)
        self._fleet.start()
        # Where it is the id of the key that is damaged, nobody has that key.
        await self._refused(client, set(rows), ("Corrupted", "WrongKey"), "from a damaged row")
        await self._fleet.stop()
        for name, (good, _) in rows.items():
            await self._site.put_state(name, good)

    async def _refused(
        self, client: Client, names: set[str], errors: tuple[str, ...], how: str, but: Iterable[str] = ()
    ) -> None:
        """Have exactly these accounts refuse with one of these errors, and all others served."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        for name in (each for each in client.accounts if each not in but):
            while True:
                reply = await client.ask(name, {"do": "look"})
                if reply is not None and "ok" in reply:
                    if name in names:
                        self.violations.append(f"{name} was served {how}")
                    break
                if reply is not None and reply["error"] in errors:
                    if name not in names:
                        self.violations.append(f"{name} refuses and was not touched: {reply['text']}")
                    break
                if loop.time() > deadline:
                    self.violations.append(f"{name} neither served nor refused, where some are read {how}")
                    break

    async def _break_down(self, client: Client) -> None:
        await self._site.break_down()
        try:
            await asyncio.sleep(self._chance.uniform(0.5, 2.0))
        finally:
            await self._site.mend()
