"""What a person reads of a task that failed: in its report, and in the log."""

from __future__ import annotations

import logging

import pytest

import koboshi as kb

from . import work


async def test_a_refused_statement_is_in_the_report_and_the_first_go_of_its_group_is_not(
    file_url: str,
) -> None:
    queue = kb.Queue("bank", store=file_url)
    async with kb.Supervisor(queue.child(workers=1)):
        job = await queue.put(work.transact_nonsense)
        with pytest.raises(kb.TaskFailed) as failed:
            await job.result(timeout=30.0)

    name = work.transact_nonsense.name
    for part in (
        f"StatementRefused: the database has refused a statement of the task {job.id!r} ({name}) of the queue 'bank'",
        "given to kb.transact: no such table: no_such_table;",
        ": UPDATE no_such_table SET x = :x",
        "sqlite3.OperationalError: no such table: no_such_table",
    ):
        assert part in failed.value.report
    assert 1 == failed.value.report.count("Traceback")


async def test_a_failed_task_is_logged_with_the_lines_of_its_traceback(
    file_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = kb.Queue("bank", store=file_url)
    with caplog.at_level(logging.WARNING, "koboshi"):
        async with kb.Supervisor(queue.child(workers=1)):
            job = await queue.put(work.transact_nonsense, id="t-1")
            with pytest.raises(kb.TaskFailed):
                await job.result(timeout=30.0)
    said = (each.getMessage() for each in caplog.records)
    retried, died = (each for each in said if each.startswith("queue bank: the task"))

    assert retried.startswith(
        f"queue bank: the task 't-1' of {work.transact_nonsense.name} failed and is tried again"
    )
    assert died.startswith(
        f"queue bank: the task 't-1' of {work.transact_nonsense.name} is a dead letter: attempt 2"
    )
    assert "\nTraceback (most recent call last):\n" in died
