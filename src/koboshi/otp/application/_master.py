"""`ApplicationMaster`: runs one application, as the supervisor of its tree.

The tree is a temporary child: whether it comes back is no question here. When it ends by itself, the master
ends with the tree's reason; when the master is stopped, it stops the tree. `stop` of the application runs
in both cases, and in `on_stop` alone unless the start fails, so it runs once.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from ..._kernel._end import Stop
from ..._kernel._errors import StartError, UsageError
from ..._kernel._reasons import SHUTDOWN, ExitReason, Shutdown
from ..._kernel._ref import ActorRef
from ..._supervision._child import Child
from ..._supervision._spec import ChildSpec
from ..._supervision._supervisor import Supervisor
from ._application import Application

TREE = "tree"


class ApplicationMaster(Supervisor):
    """Runs one application: starts its tree, stops it, and calls its callbacks."""

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application
        self._made_with = (application,), {}

    async def on_start(self) -> None:
        # A stop that comes now ends us through our link: there is no tree yet. From `super().on_start` on we
        # trap exits, and such a stop cancels this instead.
        tree = await _result(self._application.start())
        try:
            self._specs = (self._tree(tree),)
            await super().on_start()
            if TREE not in self._children:
                raise StartError(
                    f"the tree of {self._application.name!r}", Shutdown("its on_start gave IGNORE")
                )
            for phase in self._application.phases:
                await _result(self._application.start_phase(phase))
        except asyncio.CancelledError:
            if self._kb_cell.doom is not None:
                raise  # killed: the tree hears of it through its link
            await self._undo()
            raise Stop(SHUTDOWN) from None
        except BaseException:
            await self._undo()
            raise

    def _tree(self, given: Any) -> ChildSpec[Any]:
        if not isinstance(given, Supervisor | ChildSpec):
            raise UsageError(
                f"start() of {type(self._application).__qualname__} gives a kb.Supervisor(...) or a "
                f"kb.child(...), got {given!r}"
            )
        return self._accept(given).options(id=TREE, restart="temporary", significant=False)

    async def _undo(self) -> None:
        """Take back a start that failed half-way."""
        try:
            await self._stop_all()
        finally:
            await _result(self._application.stop())

    def _over(self, child: Child) -> None:
        super()._over(child)
        self.stop(child.last)

    async def on_stop(self, reason: ExitReason) -> None:
        """Stop the tree with the callbacks around it: one that fails is this master's crash, afterwards."""
        errors: list[Exception] = []
        if TREE in self._children:
            await _collect(errors, self._application.prep_stop)
        await super().on_stop(reason)
        await _collect(errors, self._application.stop)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup(f"the callbacks of {self._application.name!r} failed at its stop", errors)

    def tree(self) -> ActorRef[Any] | None:
        """A pid ref to the tree, None when it is not up."""
        child = self._children.get(TREE)
        return None if child is None or child.cell is None else ActorRef(child.cell)


async def _result(value: Any) -> Any:
    """What a callback returned, waited for if it is `async def`."""
    return await value if inspect.isawaitable(value) else value


async def _collect(errors: list[Exception], callback: Any) -> None:
    """Call back; an error must keep nothing else from being stopped."""
    try:
        await _result(callback())
    except Exception as error:
        errors.append(error)
