"""What can go wrong with new code."""

from __future__ import annotations

from ..._kernel._errors import KoboshiError


class UpgradeFailed(KoboshiError):
    """An actor could not be given its new class, and has gone on with its old class and its old state.

    Attributes:
        target: how the actor prints, or the module that could not be loaded again.
        old, new: the classes' names; both empty for a module.
        why: what went wrong; an exception, if there was one, is the `__cause__`.
    """

    def __init__(self, target: str, why: str, *, old: str = "", new: str = "") -> None:
        change = f" from {old} to {new}" if new else ""
        super().__init__(f"{target} could not be upgraded{change} and goes on as it was: {why}")
        self.target = target
        self.old = old
        self.new = new
        self.why = why
