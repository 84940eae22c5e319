"""Queues on database servers, where several programs claim at the same time."""

# ruff: noqa: ASYNC240
# Nothing else runs in these loops then, so the blocking file functions do no harm.

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import koboshi as kb
from koboshi.durable.stores import Store, engine_of
from koboshi.durable.tasks import put_rows
from koboshi.durable.tasks._claim import Claim

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.tasks import work  # noqa: E402 - workers must find it by this name

TASKS = 480
PROGRAMS = 4


async def ended(queue: kb.Queue, id: str) -> None:
    """Waits until a batch has ended."""
    while (batch := await queue.batch(id)) is None or batch.pending:  # noqa: ASYNC110 - the store tells nobody
        await asyncio.sleep(0.02)


@pytest.mark.slow
class ServerContract:
    """What holds on each database server; a subclass has the fixture `server`, a URL."""

    async def test_programs_that_claim_at_the_same_time_take_different_tasks(self, server: str) -> None:
        queue = kb.Queue("heads", store=server)
        async with AsyncExitStack() as stack:
            stores = [Store(engine_of(server)) for _ in range(PROGRAMS)]
            for store in stores:
                await store.open()
                stack.push_async_callback(store.close)
            rows = [queue.options(id=f"t{number:02}").row(work.add, number) for number in range(40)]
            await stores[0].change(lambda session: put_rows(session, rows))
            found = await asyncio.gather(
                *(store.run(Claim("heads", store.host, 10, None)) for store in stores)
            )

        taken = [[each.id for each in claims.claimed] for claims in found]
        assert [10] * PROGRAMS == [len(each) for each in taken]
        assert [f"t{number:02}" for number in range(40)] == sorted(id for each in taken for id in each)

    async def test_four_programs_run_each_task_once_and_none_of_them_starves(
        self, server: str, tmp_path: Path
    ) -> None:
        queue = kb.Queue("shared", store=server)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(kb.Supervisor(queue.producer()))
            store = queue._live().store
            await store.change(
                lambda session: session.execute(
                    "CREATE TABLE ran (task VARCHAR(255) PRIMARY KEY, program INTEGER NOT NULL)", {}
                )
            )
            await queue.pause()
            await queue.put_batch([queue.row(work.note_run) for _ in range(TASKS)], id="all")
            programs = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.durable.tasks.claimers"),
                *(str(tmp_path), server, "shared", str(PROGRAMS)),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
            )  # fmt: skip
            assert programs.stdout is not None
            assert b"up\n" * PROGRAMS == await programs.stdout.readexactly(3 * PROGRAMS)
            await queue.resume()
            await ended(queue, "all")
            await programs.communicate(b"")
            recorded = await store.read(
                lambda session: session.execute("SELECT program, COUNT(*) FROM ran GROUP BY program", {})
            )
            statistics = await queue.statistics()

        assert 0 == programs.returncode
        runs = {int(file.name): file.read_text().split() for file in tmp_path.iterdir()}
        every = [id for each in runs.values() for id in each]
        assert (TASKS, TASKS) == (len(every), len(set(every)))
        assert {pid: len(each) for pid, each in runs.items()} == dict(recorded)
        assert PROGRAMS == len(recorded)
        assert (TASKS, 0, 0) == (statistics.done, statistics.claimed, statistics.waiting)


class TestPostgres(ServerContract):
    @pytest.fixture
    def server(self, postgres_url: str) -> str:
        return postgres_url


class TestMariadb(ServerContract):
    @pytest.fixture
    def server(self, mariadb_url: str) -> str:
        return mariadb_url
