"""Every exception that the kernel raises at a user, by who is to blame for it.

`KoboshiError` is the root. `CallError` is a call that brought no reply; its fields say to whom,
what, for how long, and whether the other side may have acted. `UsageError` is a mistake in the
calling program. `StartError` is an actor or tree that did not come up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ._reasons import ExitReason, first_error, portable_error

if TYPE_CHECKING:
    from ._ref import ActorRef


class KoboshiError(Exception):
    """Root of all errors of this library.

    Subclasses keep their arguments as attributes and build the message from them, so a pickle
    needs nothing but the attributes.
    """

    # Attributes that mean something in their own OS process only; elsewhere they are None.
    _stay_behind: ClassVar[tuple[str, ...]] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: None if name in self._stay_behind else value for name, value in self.__dict__.items()}
        cause = None if self.__cause__ is None else portable_error(self.__cause__)
        return _rebuild, (type(self), self.args, fields, cause)


def _rebuild(
    kind: type[KoboshiError], args: tuple[Any, ...], fields: dict[str, Any], cause: BaseException | None
) -> KoboshiError:
    error = kind.__new__(kind, *args)
    error.args = args  # an `OSError`, as timeouts are, takes them in its `__init__` only
    error.__dict__.update(fields)
    error.__cause__ = cause
    return error


class UsageError(KoboshiError, TypeError):
    """The calling program asked for something that does not exist or does not fit."""


class CallError(KoboshiError):
    """A call brought no reply.

    Attributes:
        target: how the callee prints.
        message: name of the message.
        maybe_executed: False when the callee surely never began on it.
    """

    def __init__(self, text: str, *, target: str, message: str, maybe_executed: bool) -> None:
        super().__init__(text)
        self.target = target
        self.message = message
        self.maybe_executed = maybe_executed


class CallTimeout(CallError, TimeoutError):
    """The deadline of a call passed. `elapsed` is in seconds; `why`, where it is known, ends the text."""

    def __init__(
        self,
        target: str,
        message: str,
        elapsed: float,
        *,
        maybe_executed: bool,
        elsewhere: bool = False,
        why: object = None,
    ) -> None:
        had = "may have" if elsewhere else "had"  # another node does not tell when it begins
        began = (
            f"the callee {had} begun on it" if maybe_executed else "it had not been started and will not be"
        )
        super().__init__(
            f"{target} did not answer {message} within {elapsed:g} s; {began}"
            + ("" if why is None else f": {why}"),
            target=target,
            message=message,
            maybe_executed=maybe_executed,
        )
        self.elapsed = elapsed


class ActorExited(CallError):
    """The callee ended before it answered; `reason` says how, `__cause__` is its error if it crashed."""

    def __init__(self, target: str, message: str, reason: ExitReason, *, maybe_executed: bool) -> None:
        super().__init__(
            f"{target} exited before it answered {message}: {reason!r}",
            target=target,
            message=message,
            maybe_executed=maybe_executed,
        )
        self.reason = reason
        self.__cause__ = first_error(reason)


class NotRunning(CallError):
    """There is nobody at this address now: never started, already gone, or between two restarts."""

    def __init__(self, target: str, message: str, why: str | None = None, advice: str | None = None) -> None:
        super().__init__(
            f"{why or f'{target} is not running'}, so {message} was not delivered"
            + (f"; {advice}" if advice else ""),
            target=target,
            message=message,
            maybe_executed=False,
        )


class MailboxFull(CallError):
    """The receiver's mailbox is at its limit. `await ref.send(...)` waits for room instead."""

    def __init__(self, target: str, message: str, limit: int, why: str | None = None) -> None:
        full = why or f"the mailbox of {target} holds its limit of {limit} messages"
        super().__init__(
            f"{full}, so {message} was refused; use `await ref.send(...)` to wait for room"
            + ("" if why else ", or raise `mailbox=`"),
            target=target,
            message=message,
            maybe_executed=False,
        )
        self.limit = limit


class CallCycle(CallError):
    """This call would wait for itself. `path` names the actors in the circle, the caller first and last."""

    def __init__(self, path: Sequence[str], message: str) -> None:
        super().__init__(
            f"the call {message} would wait for itself: " + " -> ".join(path),
            target=path[1] if len(path) > 1 else path[0],
            message=message,
            maybe_executed=False,
        )
        self.path = tuple(path)


class NotInProcess(UsageError):
    """Something that only an actor or a process can do was asked for outside of one."""


class WrongThread(UsageError):
    """A ref was used on a thread other than its event loop's."""


class HandlerTimeout(KoboshiError):
    """A handler ran for longer than its actor's `max_handler_time` without giving the loop back."""

    def __init__(self, text: str = "the handler held the loop for longer than its max_handler_time") -> None:
        super().__init__(text)


class NameTaken(KoboshiError):
    """The name belongs to a process that is alive; `owner` is its ref, None in another OS process."""

    _stay_behind = ("owner",)

    def __init__(self, name: object, owner: ActorRef[Any] | None, advice: str = "") -> None:
        text = f"the name {name!r} is held by {owner!r} and is free again when that has ended"
        super().__init__(f"{text}; {advice}" if advice else text)
        self.name = name
        self.owner = owner


class StartError(KoboshiError):
    """An actor did not start. By the time this is raised nothing of it is left: no process, no name."""

    def __init__(self, what: str, reason: ExitReason) -> None:
        super().__init__(f"{what} did not start: {reason!r}")
        self.reason = reason
        self.__cause__ = first_error(reason)


class StartTimeout(StartError, TimeoutError):
    """`on_start` took longer than `start_timeout`; the actor was killed."""


class ChildError(KoboshiError):
    """A supervisor refused to change a child."""


class ChildNotFound(ChildError, LookupError):
    """The supervisor has no child under this id."""


class AlreadyPresent(ChildError):
    """The id is taken by a child that is not running now; restart or delete that one."""


class AlreadyStarted(ChildError):
    """The id is taken by a running child, whose ref is in `child`, None in another OS process."""

    _stay_behind = ("child",)

    def __init__(self, text: str, child: ActorRef[Any] | None) -> None:
        super().__init__(text)
        self.child = child


class ChildRunning(ChildError):
    """The child must be stopped for this."""


class ChildRestarting(ChildError):
    """The child is between two attempts to start it."""


class TooManyChildren(ChildError):
    """`max_children` is reached; children that are being restarted count."""


class SupervisorGaveUp(KoboshiError):
    """A root supervisor ended on its own and not cleanly, as when its restart budget was spent."""

    def __init__(self, text: str, reason: ExitReason) -> None:
        super().__init__(text)
        self.reason = reason
