"""Mistakes with queues that a checker finds: each marked line, and no other."""

from __future__ import annotations

import koboshi as kb


@kb.task
def thumbnail(path: str, scale: float = 1.0) -> tuple[int, int]:
    return len(path), round(scale)


@kb.task
async def fetch(url: str, *, attempts: int = 1) -> bytes:
    return url.encode() * attempts


def plain(path: str) -> int:
    return len(path)


async def mistakes(images: kb.Queue) -> None:
    await images.put(thumbnail, 1)  # refused
    await images.put(fetch, 1, id="a")  # refused
    await images.put(thumbnail)  # refused
    await images.put(thumbnail, "a", priority="high")  # refused
    await images.options().put(thumbnail, 1)  # refused
    await images.options().put(thumbnail)  # refused
    await images.options().put(fetch, "url", tries=2)  # refused
    await images.options(priority="high").put(thumbnail, "a")  # refused
    await images.options(when_full="drop").put(thumbnail, "a")  # refused
    await images.options().put(plain, "a")  # refused
    wrong: str = await (await images.put(thumbnail, "a")).result()  # refused
    text: str = await images.job(fetch, "id").result()  # refused
    await images.put_many(thumbnail, [1, 2])  # refused
    images.row(fetch, 1)  # refused
    images.enqueue(fetch)  # refused
    images.cron("* * * * *", fetch, 1)  # refused
    images.schedule("* * * * *", missed="maybe").put(fetch, "url")  # refused
    await images.put_batch([("fetch", "url")])  # refused
    images.tasks("lost")  # refused
    print(wrong, text, images.child(workers="four"))  # refused
    kb.task(retries="many")  # refused
    kb.Queue("images")  # refused
    kb.Queue("images", store="sqlite:///app.db", keys=b"key")  # refused
    kb.Queue("images", store="sqlite:///app.db", rate=100)  # refused
    kb.task(5)  # refused
