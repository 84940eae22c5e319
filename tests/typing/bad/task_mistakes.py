"""Mistakes with tasks that a checker finds: each marked line, and no other."""

from __future__ import annotations

from koboshi import otp


async def fetch(url: str) -> bytes:
    return url.encode()


async def mistakes(tasks: otp.Tasks) -> None:
    otp.task(fetch)  # refused
    otp.task(fetch, 1)  # refused
    otp.task_nolink(fetch, "url", attempts=2)  # refused
    text: str = await otp.task(fetch, "url")  # refused
    await tasks.task(fetch, 1)  # refused
    await tasks.start_child(fetch, 1)  # refused
    otp.task_stream([1], fetch)  # refused
    otp.task_stream(["a"], fetch, on_timeout="ignore")  # refused
    texts: otp.TaskStream[str] = otp.task_stream(["a"], fetch)  # refused
    tasks.options(restart="always")  # refused
    await otp.task(fetch, "url").shutdown("now")  # refused
    print(text, texts)
