"""What goes wrong with runners, as exceptions."""

from __future__ import annotations

from ..._kernel._errors import KoboshiError, UsageError
from .._errors import WorkerError


class RunnerLost(WorkerError):
    """The runner of a function died, or none could be started.

    Attributes:
        function: its name.
        started: whether it had begun. One that had not is given to another runner first.
        cause: what is known of the runner's end.
    """

    def __init__(self, function: str, cause: object, *, started: bool) -> None:
        self.function = function
        self.cause = cause
        self.started = started
        when = "while it ran" if started else "before it ran, and so were others for"
        super().__init__(f"the runner was lost {when} {function}: {cause}")


class CodeMismatch(WorkerError):
    """A function has other code in the runner than where it was called: restart the pool."""

    def __init__(self, function: str) -> None:
        self.function = function
        super().__init__(
            f"{function} has other code in the runner than in its caller, as when its file was changed "
            "after one of the two had imported it; restart the runners"
        )


class ExtraMissing(UsageError, KoboshiError):
    """Something needs a package that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        super().__init__(f'{what}: pip install "koboshi[{extra}]"')
