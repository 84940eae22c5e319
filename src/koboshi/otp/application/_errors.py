"""What can be wrong with a program of applications."""

from __future__ import annotations

from ..._kernel._errors import KoboshiError, SupervisorGaveUp, UsageError
from ..._kernel._reasons import ExitReason, first_error


class MissingDependency(UsageError):
    """An application needs one that is not in the program. `application` needs `missing`."""

    def __init__(self, application: str, missing: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"the application {application!r} needs {missing!r}, which is not in the program; "
            f"there are: {', '.join(map(repr, known))}"
        )
        self.application = application
        self.missing = missing


class DependencyCycle(UsageError):
    """Applications that need each other. `path` names them in a circle, one of them first and last."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__("applications need each other in a circle: " + " -> ".join(path))
        self.path = path


class ApplicationNotStarted(KoboshiError):
    """An application cannot be started, because one that it needs is not running: `needs` names those."""

    def __init__(self, application: str, needs: tuple[str, ...]) -> None:
        super().__init__(
            f"{application!r} cannot be started before what it needs: {', '.join(map(repr, needs))}; "
            "start that first"
        )
        self.application = application
        self.needs = needs


class ApplicationInUse(KoboshiError):
    """An application cannot be stopped, because running ones need it: `needed_by` names those."""

    def __init__(self, application: str, needed_by: tuple[str, ...]) -> None:
        super().__init__(
            f"{application!r} cannot be stopped before what needs it: {', '.join(map(repr, needed_by))}; "
            "stop that first"
        )
        self.application = application
        self.needed_by = needed_by


class ApplicationFailed(SupervisorGaveUp):
    """An application has ended that the program does not go on without.

    Attributes:
        application: its name.
        reason: how it ended.
    """

    def __init__(self, application: str, restart: str, reason: ExitReason) -> None:
        super().__init__(
            f"the {restart} application {application!r} ended, and the program with it: {reason!r}", reason
        )
        self.application = application
        self.__cause__ = first_error(reason)
