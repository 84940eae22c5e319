"""A queue with keys: what its store holds says nothing, and nothing in it can be exchanged."""

# Nothing else runs in these loops, so the blocking file functions do no harm.

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.durable.changes import until
from tests.durable.tasks.conftest import Clock
from tests.durable.tasks.desk import desks

import koboshi as kb
from koboshi.durable.stores import MemoryEngine
from koboshi.durable.tasks import TaskDied, TaskSealed
from koboshi.durable.tasks._cron import fire
from koboshi.durable.tasks._look import TaskInfo
from koboshi.durable.tasks._vault import Vault

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.durable.tasks import work  # noqa: E402 - workers must find it by this name

pytestmark = pytest.mark.usefixtures("fork_server")

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
CANARY = "canary-5d1c"


def ring(**options: Any) -> kb.KeyRing:
    return kb.KeyRing({"old": OLD}, current="old", **options)


def both() -> kb.KeyRing:
    return kb.KeyRing({"old": OLD, "new": NEW}, current="new")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def changed(file: Path) -> Callable[..., None]:
    """Changes rows behind the queue's back."""

    def change(sql: str, *values: Any) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            assert connection.execute(sql, values).rowcount >= 1

    return change


async def test_the_plain_text_is_nowhere_in_the_files_of_the_store(file: Path) -> None:
    queue = kb.Queue("secret", store=f"sqlite:///{file}", keys=ring())
    queue.schedule("* * * * * *", name="s", missed="skip").put(work.say, CANARY)
    async with kb.Supervisor(queue.child(workers=1)):
        said = await (await queue.put(work.say, CANARY)).result(timeout=30.0)
        in_loop = await (await queue.put(work.say_in_the_loop, CANARY)).result(timeout=30.0)
        failed = await queue.put(work.complain, CANARY)
        with pytest.raises(kb.TaskFailed, match=f"ValueError: {CANARY}"):
            await failed.result(timeout=30.0)
        await queue.put_batch([queue.row(work.say, CANARY)], id="b", then=queue.row(work.say, CANARY))
        follower = queue.job(work.say, "b.then")
        await until(follower.info, queue)
        followed = await follower.result(timeout=30.0)
        later = await queue.put(work.say, CANARY, delay=600.0)
        [letter] = [each async for each in queue.tasks("dead")]
        stored = b"".join(each.read_bytes() for each in file.parent.iterdir())

        assert [f"{CANARY}, {CANARY}"] * 3 == [said, in_loop, followed]
        assert letter.report is not None
        assert CANARY in letter.report
        assert len(stored) > 10_000
        assert CANARY.encode() not in stored
        assert later.id.encode() in stored


async def test_a_report_of_a_task_that_waits_to_be_tried_again_is_sealed_too(clock: Clock) -> None:
    async with desks(1, lambda: MemoryEngine("sealed", clock=clock)) as [desk]:
        await desk.put(id="one")
        [claimed] = await desk.claim()
        await desk.settle(claimed, "retry", delay=5.0, report=CANARY, vault=Vault("desk", ring()))
        info = await desk.info("one")

    assert info is not None
    assert info.report is not None
    assert CANARY not in info.report
    assert "its report is encrypted and this queue has no keys; pass keys=" in info.report


async def test_an_occurrence_of_a_schedule_is_sealed_for_its_own_row(clock: Clock) -> None:
    queue = kb.Queue("desk", store="memory://never opened", keys=ring())
    queue.schedule("* * * * *", name="it").put(work.add, 4, 5)
    [schedule] = queue._schedules
    async with desks(1, lambda: MemoryEngine("sealed", clock=clock)) as [desk]:
        await fire(desk.store, queue._plan, schedule)
        clock.advance(60.0)
        await fire(desk.store, queue._plan, schedule)
        [claimed] = await desk.claim()

    opened = queue._plan.vault.open_arguments(claimed.id, claimed.function, claimed.payload)
    assert ((4, 5), {}) == work.add.codec.decode_arguments(opened)


async def test_what_was_put_before_there_were_keys_is_run_and_its_result_is_sealed(file: Path) -> None:
    plain, sealed = (kb.Queue("q", store=f"sqlite:///{file}", keys=keys) for keys in (None, ring()))
    async with kb.Supervisor(plain.producer()):
        await plain.put(work.say, CANARY, id="one")
    async with kb.Supervisor(sealed.child(workers=1)):
        said = await sealed.job(work.say, "one").result(timeout=30.0)
    async with kb.Supervisor(plain.producer()):
        with pytest.raises(kb.WrongKey, match=r"q/one.*its result is encrypted and this queue has no keys"):
            await plain.job(work.say, "one").result(timeout=30.0)

    assert f"{CANARY}, {CANARY}" == said


async def given_back(job: kb.Job[Any]) -> TaskInfo | None:
    """A task that waits for a program that can open it."""
    info = await job.info()
    return info if info is not None and info.state == "later" else None


async def test_a_queue_that_takes_nothing_plain_leaves_plain_tasks_alone(file: Path) -> None:
    events: list[Any] = []
    forget = kb.listen(events.append)
    plain = kb.Queue("q", store=f"sqlite:///{file}")
    strict = kb.Queue("q", store=f"sqlite:///{file}", keys=ring(allow_plain=False))
    try:
        async with kb.Supervisor(plain.producer()):
            await plain.put(work.say, "a", id="one")
        async with kb.Supervisor(strict.child(workers=1)):
            await (await strict.put(work.say, "b")).result(timeout=30.0)
            info = await until(lambda: given_back(strict.job(work.say, "one")), strict)
    finally:
        forget()

    assert info is not None
    assert ("later", 0) == (info.state, info.attempts)
    [told] = [each for each in events if isinstance(each, TaskSealed)]
    assert isinstance(told.error, kb.WrongKey)
    assert "allow_plain is False" in str(told.error)


async def test_a_program_without_the_key_leaves_the_task_to_one_that_has_it(
    file: Path, changed: Callable[..., None]
) -> None:
    sealed = kb.Queue("q", store=f"sqlite:///{file}", keys=both())
    other = kb.Queue("q", store=f"sqlite:///{file}", keys=ring())
    async with kb.Supervisor(sealed.producer()):
        await sealed.put(work.say, "a", id="one")
    async with kb.Supervisor(other.child(workers=1)):
        job = other.job(work.say, "one")
        info = await until(lambda: given_back(job), other)
        assert info is not None
        assert info.report is not None
        assert "the key ring does not have" in info.report
    changed("UPDATE kb_task SET due_at = 0")
    async with kb.Supervisor(sealed.child(workers=1)):
        assert "a, a" == await sealed.job(work.say, "one").result(timeout=30.0)
        info = await sealed.job(work.say, "one").info()  # type: ignore[assignment]

    assert info is not None
    assert 1 == info.attempts


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE kb_task SET payload = (SELECT payload FROM kb_task WHERE task_id = 'two') WHERE task_id = 'one'",
        "UPDATE kb_task SET payload = CAST(payload || x'00' AS BLOB) WHERE task_id = 'one'",
        "UPDATE kb_task SET function_name = 'tests.durable.tasks.work.complain' WHERE task_id = 'one'",
        "UPDATE kb_task SET payload = 'text' WHERE task_id = 'one'",
    ],
    ids=["of another row", "longer", "of another function", "text"],
)
async def test_a_row_that_was_changed_is_a_dead_letter_and_the_others_run(
    file: Path, changed: Callable[..., None], harm: str
) -> None:
    events: list[Any] = []
    queue = kb.Queue("q", store=f"sqlite:///{file}", keys=ring(allow_plain=False))
    async with kb.Supervisor(queue.producer()):
        await queue.put(work.say, "a", id="one")
        await queue.put(work.say, "b", id="two")
    changed(harm)
    forget = kb.listen(events.append)
    try:
        async with kb.Supervisor(queue.child(workers=1)):
            harmed = queue.job(work.say, "one")
            with pytest.raises(kb.TaskFailed, match=r"Corrupted: .*q/one.*its payload"):
                await harmed.result(timeout=30.0)

            assert ["one"] == [each.task for each in events if isinstance(each, TaskDied)]
            assert "b, b" == await queue.job(work.say, "two").result(timeout=30.0)
    finally:
        forget()


async def test_a_result_or_report_that_was_changed_is_corrupted_for_whoever_asks(
    file: Path, changed: Callable[..., None]
) -> None:
    queue = kb.Queue("q", store=f"sqlite:///{file}", keys=ring())
    async with kb.Supervisor(queue.child(workers=1)):
        for id in ("one", "two"):
            await (await queue.put(work.say, "x", id=id)).result(timeout=30.0)
        with pytest.raises(kb.TaskFailed):
            await (await queue.put(work.complain, "x", id="dead")).result(timeout=30.0)
        changed(
            "UPDATE kb_task SET result = (SELECT result FROM kb_task WHERE task_id = 'two') WHERE task_id = 'one'"
        )
        changed(
            "UPDATE kb_task SET report = replace(report, 'sealed:', 'sealed:wUFB') WHERE task_id = 'dead'"
        )
        with pytest.raises(kb.Corrupted, match=r"its result .* does not open"):
            await queue.job(work.say, "one").result(timeout=30.0)
        with pytest.raises(kb.Corrupted, match="its report"):
            await queue.job(work.complain, "dead").result(timeout=30.0)
        [letter] = [each async for each in queue.tasks("dead")]

        assert letter.report is not None
        assert letter.report.startswith("the report cannot be shown: ")
        assert "x, x" == await queue.job(work.say, "two").result(timeout=30.0)


async def test_keys_are_rotated_in_the_store_while_tasks_wait_and_are_kept(file: Path) -> None:
    url = f"sqlite:///{file}"
    queue = kb.Queue("q", store=url, keys=ring())
    async with kb.Supervisor(queue.child(workers=1)):
        await (await queue.put(work.say, "x", id="done")).result(timeout=30.0)
        with pytest.raises(kb.TaskFailed):
            await (await queue.put(work.complain, "x", id="dead")).result(timeout=30.0)
        await queue.pause()
        await queue.put_batch(
            [queue.options(id="ready").row(work.say, "y")], id="b", then=queue.row(work.say, "z")
        )
    rotating = kb.Queue("q", store=url, keys=both())
    async with kb.Supervisor(rotating.producer()):
        before = await rotating.keys_in_use()
        done = await rotating.rotate_keys(portion=2)
        again = await rotating.rotate_keys(portion=2)
        after = await rotating.keys_in_use()
    new_only = kb.Queue("q", store=url, keys=kb.KeyRing({"new": NEW}, current="new", allow_plain=False))
    async with kb.Supervisor(new_only.child(workers=1)):
        await new_only.resume()
        results = [await new_only.job(work.say, "done").result(timeout=30.0)]
        results.append(await new_only.job(work.say, "ready").result(timeout=30.0))
        results.append(await new_only.job(work.say, "b.then").result(timeout=30.0))
        with pytest.raises(kb.TaskFailed, match="ValueError: x"):
            await new_only.job(work.complain, "dead").result(timeout=30.0)

    # The arguments of three tasks and of what follows the batch, a result, and a report.
    assert {"old": 6} == before
    assert {"new": 6} == after
    assert kb.KeyRotation(6, 0, ()) == done
    assert kb.KeyRotation(0, 0, ()) == again
    assert ["x, x", "y, y", "z, z"] == results


async def test_a_rotation_goes_on_past_what_does_not_open_and_names_it(
    file: Path, changed: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{file}"
    queue = kb.Queue("q", store=url, keys=ring())
    async with kb.Supervisor(queue.child(workers=1)):
        for id in ("a", "b", "c"):
            await (await queue.put(work.say, id, id=id)).result(timeout=30.0)
        with pytest.raises(kb.TaskFailed):
            await (await queue.put(work.complain, "x", id="d")).result(timeout=30.0)
        await queue.pause()
        for batch in ("b1", "b2"):
            await queue.put_batch([queue.row(work.say, "y")], id=batch, then=queue.row(work.say, "z"))
    for harm in (
        "UPDATE kb_task SET payload = CAST(payload || x'00' AS BLOB) WHERE task_id = 'a'",
        "UPDATE kb_task SET result = (SELECT result FROM kb_task WHERE task_id = 'c') WHERE task_id = 'b'",
        "UPDATE kb_task SET report = 'sealed:not-base64!' WHERE task_id = 'd'",
        "UPDATE kb_task_batch SET payload = 'text' WHERE batch_id = 'b1'",
    ):
        changed(harm)
    rotating = kb.Queue("q", store=url, keys=both())
    async with kb.Supervisor(rotating.producer()):
        sealed, skipped, problems = await rotating.rotate_keys(portion=2)
        assert (0, 4, problems) == await rotating.rotate_keys()
    new_only = kb.Queue("q", store=url, keys=kb.KeyRing({"new": NEW}, current="new", allow_plain=False))
    async with kb.Supervisor(new_only.producer()):
        results = [await new_only.job(work.say, id).result(timeout=30.0) for id in ("a", "c")]

    assert ["a, a", "c, c"] == results
    # Of four tasks four arguments and four results or reports, of two batches two and what follows: without the four.
    assert (8, 4) == (sealed, skipped)
    for part, problem in zip(("q/a", "q/b", "q/d", "q/b1.then"), problems, strict=True):
        assert part in problem
        assert f"not sealed anew: {problem}" in caplog.text


async def test_rotation_needs_keys_and_says_so(file: Path) -> None:
    queue = kb.Queue("q", store=f"sqlite:///{file}")
    async with kb.Supervisor(queue.producer()):
        with pytest.raises(kb.UsageError, match=r"<Queue 'q' .* has no keys; pass keys=kb.KeyRing\(...\)"):
            await queue.rotate_keys()
        assert {} == await queue.keys_in_use()
        for _ in range(3):
            await queue.put(work.say, "x")
        assert {None: 3} == await queue.keys_in_use()


def test_keys_are_a_key_ring() -> None:
    with pytest.raises(kb.UsageError, match=r"keys takes a kb.KeyRing, got a bytes"):
        kb.Queue("q", store="memory://", keys=OLD)  # type: ignore[arg-type]
