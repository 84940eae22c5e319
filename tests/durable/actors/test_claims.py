"""Claims on servers, where what one host reads another may be changing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.durable.another import another_program

from koboshi.durable.actors._claim import Claim, Claimed
from koboshi.durable.actors._identity import Identity
from koboshi.durable.stores import Session
from koboshi.durable.stores._hosts import ForgetHosts
from koboshi.durable.stores._tables import ACTOR

KEY = ("system_name", "actor_type", "actor_key")
ANN = Identity("here", "Account", "ann")


class Late:
    """A session whose first claim of a row comes only after somebody else's commit."""

    def __init__(self, session: Session, before: asyncio.Event, after: asyncio.Event) -> None:
        self._session = session
        self._before = before
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def update(self, table: Any, match: Any, change: Any, rows: Any) -> int:
        if table is ACTOR and rows:
            self._before.set()
            while not self._after.is_set():  # each look gives the other host its turn
                self._session.lookup(ACTOR, ("revision",), KEY, [ANN])
        return self._session.update(table, match, change, rows)


class LateClaim(Claim):
    """Reads, waits for the event, and only then takes."""

    events: tuple[asyncio.Event, asyncio.Event]

    @classmethod
    def perform_all(cls, session: Session, operations: Sequence[Claim]) -> list[Claimed]:
        late: Any = Late(session, *cls.events)
        return super().perform_all(late, operations)


async def test_a_claim_on_postgres_never_gives_an_older_state_than_its_owner_has_committed(
    postgres_url: str,
) -> None:
    await claimed_while_its_owner_commits(postgres_url)


async def test_a_claim_on_mariadb_never_gives_an_older_state_than_its_owner_has_committed(
    mariadb_url: str,
) -> None:
    await claimed_while_its_owner_commits(mariadb_url)


async def claimed_while_its_owner_commits(url: str) -> None:
    """A claim that has read the row has to notice that it is another one now."""
    async with another_program(url) as old, another_program(url) as new:
        first = await old.run(Claim(ANN, old.host, "json", 1))
        assert first.token is not None
        await new.run(ForgetHosts([old.host]))  # it is taken for lost, and goes on
        LateClaim.events = before, after = asyncio.Event(), asyncio.Event()

        def commit(session: Session) -> int:
            row = (*ANN, first.token, 0, 1)
            return session.update(ACTOR, (*KEY, "token", "revision"), ("revision",), [row])

        claiming = asyncio.create_task(new.run(LateClaim(ANN, new.host, "json", 1)))
        await before.wait()
        assert 1 == await old.change(commit)
        after.set()
        claimed = await claiming

        # It saw revision 0, which is not what is there: it has to try again.
        assert (None, 0) == (claimed.token, claimed.revision)
        again = await new.run(Claim(ANN, new.host, "json", 1))
        assert again.token is not None
        assert 1 == again.revision
        assert 0 == await old.change(commit)
