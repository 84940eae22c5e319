"""The undoing of a saga that has failed: last in, first out, each tried until it works or is a dead letter."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from ._attempts import attempt_begins
from ._errors import SagaChanged
from ._failing import failure_of
from ._journal import Failure, Tried, Undone
from ._rest import FOR_EVER

if TYPE_CHECKING:
    from ._operation import Operation
    from ._runner import Runner

__all__ = ["Compensation"]


class Compensation:
    """Of one runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        # Labels of steps that are undone.
        self.undone: set[str] = set()
        self._again = asyncio.Event()

    def again(self) -> None:
        """Somebody has mended what was wrong: count anew."""
        self._runner.attempts.forget("undo ")
        self._again.set()

    async def run(self) -> None:
        """Undo everything that is done, and have the end recorded."""
        runner = self._runner
        await runner.settle()
        failed = runner.failed
        assert failed is not None
        for operation in reversed(tuple(runner.completed)):
            if not operation.began.undo or operation.label in self.undone:
                continue
            if operation.undo is None:
                runner.park(SagaChanged(runner.who, f"{operation.label!r} with undo=", "it without"))
                return
            while (failure := await self._undo(operation)) is not None:
                self._again.clear()
                await runner.flush()
                await runner.close("dead", b"", failure)
                with runner.rest.pause("a hand", FOR_EVER):
                    await self._again.wait()
        await runner.flush()
        await runner.close("cancelled" if failed.cancelled else "failed", b"", failed.failure)

    async def _undo(self, operation: Operation) -> Failure | None:
        """Undo one step; the last error if that does not work."""
        runner, spec = self._runner, self._runner.spec
        label = f"undo {operation.label}"
        while True:
            worn = await attempt_begins(runner, label, spec.undo_backoff)
            if worn is not None:
                return worn
            attempt = runner.attempts.of(label).attempt
            ended = operation.future.result()
            undo: Any = operation.undo
            found, timed_out = await undo(ended.value)
            if not isinstance(found, BaseException):
                runner.write(Undone(operation.label))
                return None
            failure = failure_of(found, (), timed_out=timed_out)
            delay = spec.undo_backoff.delay(attempt + 1, random.random)
            runner.write(Tried(label, attempt + 1, runner.now() + delay, failure))
            if attempt >= spec.undo_retries:
                return failure
