"""A queue's tasks know the arguments that they take and the type of their results, wherever they are waited for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

import koboshi as kb
from koboshi.durable.tasks import BatchInfo, QueueStatistics, TaskInfo, TaskRow


@kb.task(retries=5, timeout=30.0)
def thumbnail(path: str, scale: float = 1.0) -> tuple[int, int]:
    return len(path), round(scale)


@kb.task
async def fetch(url: str, *, attempts: int = 1) -> bytes:
    return url.encode() * attempts


@kb.task(name="notes.forget")
def forget(id: int) -> None:
    print(id)


def tasks_are_called_as_the_functions_they_are() -> None:
    assert_type(thumbnail("a.png"), tuple[int, int])
    assert_type(thumbnail.name, str)


async def put(images: kb.Queue) -> None:
    job = await images.put(thumbnail, "a.png", id="a.png", priority=5, delay=1.0)
    assert_type(job, kb.Job[tuple[int, int]])
    assert_type(await job.result(timeout=60.0), tuple[int, int])
    assert_type(job.new, bool)
    assert_type(await job.info(), TaskInfo | None)
    assert_type(await job.cancel(), bool)
    assert_type(await (await images.put(fetch, "url", attempts=2)).result(), bytes)
    assert_type(await (await images.put(fetch, "url", unique="url")).result(), bytes)
    assert_type(await (await images.put(forget, 1)).result(), None)
    found = await images.options(run_at=datetime.now(UTC), when_full="wait").put(fetch, "url", attempts=2)
    assert_type(found, kb.Job[bytes])


async def many(images: kb.Queue) -> None:
    assert_type(await images.put_many(thumbnail, ["a", "b"], ids=str.lower), list[kb.Job[tuple[int, int]]])
    assert_type(await images.put_many(fetch, ["a", "b"]), list[kb.Job[bytes]])
    row = images.row(fetch, "url", attempts=3)
    assert_type(row, TaskRow)
    assert_type(await images.put_batch([row], then=images.row(forget, 1)), str)
    assert_type(await images.batch("b"), BatchInfo | None)


async def look(images: kb.Queue) -> None:
    assert_type(images.job(fetch, "id"), kb.Job[bytes])
    assert_type(await images.statistics(), QueueStatistics)
    async for info in images.tasks("dead"):
        assert_type(info.report, str | None)
    assert_type(await images.requeue("a", "b"), int)
    assert_type(await images.discard("a", "b"), int)
    assert_type(await images.rotate_keys(portion=100), kb.KeyRotation)
    await images.pause()
    await images.resume()
    await images.scale(3)


def tree(keys: kb.KeyRing) -> None:
    rate = kb.Rate(100, per=60.0, burst=10)
    images = kb.Queue("images", store="sqlite:///app.db", limit=10, rate=rate, keep_dead=60.0, keys=keys)
    images.cron("0 3 * * *", fetch, "url", attempts=2)
    images.schedule("0 3 * * *", timezone="Europe/Berlin", missed="skip").put(thumbnail, "a.png")
    assert_type(images.child(workers=4), kb.ChildSpec[kb.Supervisor])
    assert_type(images.producer(), kb.ChildSpec[kb.Supervisor])
    assert_type(images.enqueue(fetch, "url"), str)
