"""`Application`: the class that users subclass, one for each part of a program."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, ClassVar, Literal

from ..._kernel._errors import UsageError
from ..._supervision._restart import RESTARTS
from ..._supervision._spec import ChildSpec
from ..._supervision._supervisor import Supervisor

Importance = Literal["permanent", "transient", "temporary"]
Tree = Supervisor | ChildSpec[Any]


class Application:
    """A part of a program: a tree, what it needs, and what is done around its start and end.

    Subclass it, give it an `__init__` of your own if it takes a configuration, and name it in
    `Applications`. Callbacks may be plain or `async def`; they run one at a time.
    """

    #: How others name it in their `needs`; the class's name in lower case by default.
    name: ClassVar[str] = ""
    #: Names of the applications that are started before this one and stopped after it.
    needs: ClassVar[tuple[str, ...]] = ()
    #: Whether the program ends with it: "permanent" (always, the default), "transient" (after an unclean
    #: end), "temporary" (never; the end is only reported).
    restart: ClassVar[Importance] = "permanent"
    #: Given to `start_phase` one by one when the tree is up.
    phases: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()
        name: object = cls.name
        if not isinstance(name, str) or not name:
            raise UsageError(f"name of {cls.__name__} is a string that is not empty, got {name!r}")
        if cls.restart not in RESTARTS:
            raise UsageError(
                f"restart of {cls.__name__} is one of {', '.join(map(repr, RESTARTS))}; got {cls.restart!r}"
            )
        for option in ("needs", "phases"):
            value: object = getattr(cls, option)
            if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):  # pyright: ignore[reportUnknownVariableType]
                raise UsageError(
                    f'{option} of {cls.__name__} is a tuple of names, such as ("store",); got {value!r}'
                )

    def start(self) -> Tree | Coroutine[Any, Any, Tree]:
        """Give the tree to start: a supervisor that is not entered, or a child spec."""
        raise NotImplementedError(
            f"{type(self).__qualname__} has no start(); write `def start(self) -> kb.Supervisor: "
            "return kb.Supervisor(kb.child(...))`"
        )

    def start_phase(self, phase: str, /) -> Any:
        """Called for each of `phases` in order when the tree is up; the next application waits for it."""
        raise NotImplementedError(
            f"{type(self).__qualname__} names the phase {phase!r} and has no start_phase(phase)"
        )

    def prep_stop(self) -> Any:
        """Called while the tree still runs, when it is about to be stopped; not when it ended by itself."""

    def stop(self) -> Any:
        """Called when the tree has ended, however it did: once for each `start` that returned."""

    def __repr__(self) -> str:
        return f"<{type(self).__qualname__} application {self.name!r}, {self.restart}>"
