"""Queues on database servers, where several programs claim at the same time."""

# ruff: noqa: ASYNC240
# Nothing else runs in these loops then, so the blocking file functions do no harm.

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.waiting import ask

import koboshi as kb
from koboshi.durable.stores import engine_of
from koboshi.durable.tasks import _counters
from koboshi.durable.tasks._batches import PutBatch, read_batches
from koboshi.durable.tasks._cron import fire

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.tasks import work  # noqa: E402 - workers must find it by this name
from tests.durable.tasks.desk import NAME, desks  # noqa: E402
from tests.servers.mariadb import MariadbServer  # noqa: E402

pytestmark = pytest.mark.usefixtures("fork_server")

TASKS = 320
PROGRAMS = 4


async def ended(queue: kb.Queue, id: str) -> None:
    """Waits until a batch has ended that other programs run."""

    async def all_of_it() -> bool:
        batch = await queue.batch(id)
        return batch is not None and not batch.pending

    await ask(all_of_it, f"the end of the batch {id!r} in other programs")


@pytest.mark.slow
class ServerContract:
    """What holds on each database server; a subclass has the fixture `server`, a URL."""

    async def test_programs_that_claim_at_the_same_time_take_different_tasks(self, server: str) -> None:
        async with desks(PROGRAMS, lambda: engine_of(server)) as programs:
            for number in range(40):
                await programs[0].put(id=f"t{number:02}")
            found = await asyncio.gather(*(desk.claim() for desk in programs))

        assert [10] * PROGRAMS == [len(each) for each in found]
        assert [f"t{number:02}" for number in range(40)] == sorted(
            claim.id for each in found for claim in each
        )

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

    async def test_a_queue_lives_on_a_server_as_it_does_in_a_file(self, server: str) -> None:
        keys = kb.KeyRing({"old": bytes(32)}, current="old")
        queue = kb.Queue("life", store=server, limit=20, keys=keys)
        async with kb.Supervisor(queue.child(workers=1)):
            store = queue._live().store
            for sql in (
                "CREATE TABLE account (name VARCHAR(255) PRIMARY KEY, cents INTEGER NOT NULL)",
                "INSERT INTO account VALUES ('alice', 100)",
            ):
                await store.change(lambda session, sql=sql: session.execute(sql, {}))  # type: ignore[misc]
            in_worker = await queue.put(work.double, 4, id="one")
            again = await queue.put(work.double, 5, id="one")
            spent = await queue.put(work.spend, "alice", 30)
            odd = await queue.put(work.halve, 3)
            with pytest.raises(kb.TaskFailed, match="attempt 3: ValueError: 3 is odd"):
                await odd.result(timeout=30.0)
            results = [await each.result(timeout=30.0) for each in (in_worker, again, spent)]
            requeued = await queue.requeue(odd.id)
            with pytest.raises(kb.TaskFailed):
                await odd.result(timeout=30.0)
            await queue.pause()
            rows = [queue.options(id=f"b{number}").row(work.halve, number) for number in range(4)]
            await queue.put_batch(rows, id="b", then=queue.row(work.add, 1))
            cancelled = await queue.job(work.halve, "b0").cancel()
            with pytest.raises(kb.QueueFull):
                await queue.put_many(work.double, range(18))
        rotated = kb.KeyRing({"old": bytes(32), "new": bytes([1]) * 32}, current="new")
        later = kb.Queue("life", store=server, keys=rotated)
        async with kb.Supervisor(later.child(workers=1)):
            sealed = await later.rotate_keys(portion=3)
            await later.resume()
            await ended(later, "b")
            followed = await later.job(work.add, "b.then").result(timeout=30.0)
            batch = await later.batch("b")
            [(cents,)] = await later._live().store.read(
                lambda session: session.execute("SELECT cents FROM account", {})
            )
            gone = await later.discard(odd.id)
            letters = [each.id async for each in later.tasks("dead")]

        assert [8, 8, 30] == results
        assert (False, 1, True, 1) == (again.new, requeued, cancelled, gone)
        # Of three that have ended two values each, of four of the batch and what follows it one.
        assert kb.KeyRotation(3 * 2 + 4 + 1, 0, ()) == sealed
        assert (2, 70) == (followed, cents)
        assert batch is not None
        assert (4, 0, 3) == (batch.total, batch.pending, batch.failed)
        assert ["b1", "b3"] == letters

    async def test_programs_that_look_at_a_schedule_at_the_same_time_put_each_occurrence_once(
        self, server: str
    ) -> None:
        queue = kb.Queue(NAME, store=server)
        queue.schedule("* * * * *", name="it", missed="fire_all").put(work.add, 1)
        [schedule] = queue._schedules
        async with desks(PROGRAMS, lambda: engine_of(server)) as programs:
            name = _counters.schedule_name(NAME, "it")
            hour_ago = programs[0].store.change(
                lambda session: _counters.write(session, name, int(session.now) - 3_600)
            )
            await hour_ago
            await asyncio.gather(*(fire(desk.store, queue._plan, schedule) for desk in programs))

            assert len(await programs[0].claim(100)) in (60, 61)

    async def test_programs_together_keep_to_the_rate(self, server: str) -> None:
        rate = kb.Rate(1, per=60.0, burst=7)
        async with desks(PROGRAMS, lambda: engine_of(server)) as programs:
            for number in range(20):
                await programs[0].put(number=number)
            found = await asyncio.gather(*(desk.claim(5, rate) for desk in programs))
            later = await asyncio.gather(*(desk.claims(5, rate) for desk in programs))

            assert 7 == sum(len(each) for each in found)
            assert [0] * PROGRAMS == [len(each.claimed) for each in later]
            assert all(50.0 < each.wait <= 60.0 for each in later)

    async def test_a_unique_key_that_several_programs_want_is_given_to_one(self, server: str) -> None:
        async with desks(PROGRAMS, lambda: engine_of(server)) as programs:
            for _ in range(5):
                found = await asyncio.gather(*(desk.put(unique="user 1") for desk in programs))
                [claimed] = await programs[0].claim()
                # One ends it while the others want it: whoever comes after the end gets a new one.
                ended, *late = await asyncio.gather(
                    programs[0].settle(claimed), *(desk.put(unique="user 1") for desk in programs[1:])
                )
                left = await programs[1].claim()
                for each in left:
                    await programs[1].settle(each)

                assert 1 == sum(new for _, new in found)
                assert {claimed.id} == {id for id, _ in found}
                assert ended
                assert sum(new for _, new in late) == len(left) <= 1  # type: ignore[has-type, misc]

    async def test_the_last_of_a_batch_is_followed_once_whichever_program_ends_it(self, server: str) -> None:
        async with desks(PROGRAMS, lambda: engine_of(server)) as programs:
            first = programs[0]
            rows = [first.row(number)._replace(batch="all") for number in range(PROGRAMS)]
            follower = first.row(id="all.then")
            assert await first.store.run(PutBatch(NAME, "all", rows, follower, 100.0))
            held = [(await desk.claim(1))[0] for desk in programs]
            await asyncio.gather(
                *(desk.settle(each) for desk, each in zip(programs, held, strict=True)),
                first.cancel(held[0].id),
            )
            [batch] = await first.store.read(lambda session: read_batches(session, [(NAME, "all")]))

            assert ["all.then"] == [each.id for each in await first.claim()]
            assert (PROGRAMS, 0) == (batch.total, batch.pending)


class TestPostgres(ServerContract):
    @pytest.fixture
    def server(self, postgres_url: str) -> str:
        return postgres_url


class TestMariadb(ServerContract):
    @pytest.fixture
    def server(self, mariadb_url: str) -> str:
        return mariadb_url

    async def test_a_result_that_the_server_does_not_take_is_a_dead_letter_and_no_others_suffer(
        self, server: str, mariadb_server: MariadbServer
    ) -> None:
        before = mariadb_server.sql("SELECT @@GLOBAL.max_allowed_packet")
        mariadb_server.sql("SET GLOBAL max_allowed_packet = 1048576")
        try:
            queue = kb.Queue("large", store=server)
            async with kb.Supervisor(queue.child(workers=1)):
                jobs = [await queue.put(work.large, size) for size in (10, 1_040_000, 20)]
                with pytest.raises(kb.TaskFailed, match="max_allowed_packet is 1,048,576"):
                    await jobs[1].result(timeout=30.0)
                others = [await job.result(timeout=30.0) for job in (jobs[0], jobs[2])]
        finally:
            mariadb_server.sql(f"SET GLOBAL max_allowed_packet = {before}")

        assert [b"x" * 10, b"x" * 20] == others
