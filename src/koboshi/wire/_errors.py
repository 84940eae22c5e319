"""Errors of the wire: what could not be packed, framed or read."""

from __future__ import annotations

from pickle import PicklingError
from typing import Any

from .._kernel._errors import KoboshiError


class WireError(KoboshiError):
    """Base of everything that goes wrong between two processes' encoders."""


class FrameTooLarge(WireError):
    """A message exceeds the frame limit; nothing of it was written or allocated."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} takes {size:,} bytes, the frame limit is {limit:,} bytes: "
            "pass a path or a smaller piece, or raise frame_limit"
        )


class FrameBroken(WireError):
    """The peer sent bytes that are not a frame, or stopped inside one."""


class DescriptorsExhausted(WireError):
    """A message's buffers need shared memory, and this process has no descriptor to spare for it."""

    def __init__(self, held: int, limit: int) -> None:
        self.held = held
        self.limit = limit
        super().__init__(
            f"{held:,} messages with large buffers are waiting, and this process may have {limit:,} "
            "descriptors open: wait for some of their outcomes, or raise `ulimit -n`"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.held, self.limit)


class BuffersLost(WireError):
    """The buffers of a message did not arrive: the receiving process had no descriptor free for them."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(
            f"a message came without its {size:,} bytes of buffers, because the process that receives it "
            "has as many descriptors open as it may: close some, or raise `ulimit -n`"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.size,)


class NotPicklable(WireError, PicklingError):
    """A function, or one of its arguments, cannot be sent to another process.

    `argument` names the argument, or is None when it is the function itself.
    """

    def __init__(self, function: str, argument: str | None, problem: str) -> None:
        self.function = function
        self.argument = argument
        self.problem = problem
        if argument is None:
            text = (
                f"function {function} cannot be sent to another process ({problem}): "
                "define it at the top level of a module"
            )
        else:
            inner = "<lambda>" in problem or "<locals>" in problem
            advice = (
                "functions and classes travel by name, so define what is passed at the top level of a module"
                if inner
                else "pass plain data and open files, locks and connections inside the function"
            )
            text = f"{argument} of {function} cannot be sent to another process ({problem}): {advice}"
        super().__init__(text)
