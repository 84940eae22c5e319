"""What can go wrong with a saga, and who is told: its `run`, whoever waits for it, or whoever runs the program."""

from __future__ import annotations

from .._failures import DurableError, OutcomeUnknown, Refused

__all__ = [
    "EventTimeout",
    "SagaCancelled",
    "SagaChanged",
    "SagaFailed",
    "StepFailed",
    "StepOutcomeUnknown",
    "StepTimeout",
    "UnknownSaga",
]


class StepFailed(DurableError):
    """A step has failed for good; raised in `run`. Errors that the saga declares in `errors` come as themselves.

    Attributes:
        step: its name.
        error_type: the name of the exception's class.
        detail: its message.
        report: its traceback as text.
    """

    def __init__(self, step: str, error_type: str, detail: str, report: str = "") -> None:
        super().__init__(f"the step {step!r} failed with {error_type}: {detail}")
        self.step = step
        self.error_type = error_type
        self.detail = detail
        self.report = report


class StepTimeout(StepFailed):
    """A step took longer than its timeout, on its last attempt; whether it had an effect is not known."""


class StepOutcomeUnknown(OutcomeUnknown):
    """A step that runs at most once was begun, and the program ended before its outcome was recorded."""

    def __init__(self, step: str) -> None:
        super(OutcomeUnknown, self).__init__(
            f"the step {step!r} runs at most once and was begun by a program that ended before it had recorded the "
            "outcome; find out what has happened and decide in `run`, it is not tried again"
        )
        self.step = step
        self.url = ""
        self.detail = "begun and not recorded"

    def __reduce__(self) -> tuple[type[StepOutcomeUnknown], tuple[str]]:
        return type(self), (self.step,)


class EventTimeout(DurableError, TimeoutError):
    """The event that a saga has waited for did not come in time."""

    def __init__(self, event: str) -> None:
        super().__init__(f"the event {event!r} did not come in time")
        self.event = event


class SagaCancelled(DurableError):
    """Somebody has cancelled the saga: raised in `run` by whatever it does next, and by `result`."""

    def __init__(self, saga: str) -> None:
        super().__init__(f"{saga} was cancelled")
        self.saga = saga


class SagaFailed(DurableError):
    """A saga has failed; what it had done was undone, unless `undone` is False: then it needs a hand.

    Attributes:
        saga: which one.
        error_type, detail, report: what its `run` has raised.
        undone: whether all compensations have run; False where one of them is a dead letter.
    """

    def __init__(
        self, saga: str, error_type: str, detail: str, report: str = "", undone: bool = True
    ) -> None:
        end = (
            ""
            if undone
            else "; a compensation failed for good, so it is not undone: mend that and call retry()"
        )
        super().__init__(f"{saga} failed with {error_type}: {detail}{end}")
        self.saga = saga
        self.error_type = error_type
        self.detail = detail
        self.report = report
        self.undone = undone


class SagaChanged(DurableError):
    """The code of a saga does not do what an instance that is under way has recorded. The instance is parked.

    Nothing is lost and nothing was run: with the code as it was, or mended, the instance goes on.

    Attributes:
        saga: which instance.
        expected: what its journal says it did here.
        found: what the code did instead.
    """

    def __init__(self, saga: str, expected: str, found: str) -> None:
        super().__init__(
            f"{saga} is under way and its journal has {expected} here, where the code now has {found}; keep the "
            "names and the order of what instances have begun, or give the new code another type= until the old "
            "ones have ended"
        )
        self.saga = saga
        self.expected = expected
        self.found = found


class UnknownSaga(Refused):
    """There is no instance of that id."""

    def __init__(self, saga: str) -> None:
        super().__init__(f"there is no {saga}; start it before")
        self.saga = saga
