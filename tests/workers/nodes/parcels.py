"""Objects that make trouble when they travel."""

from __future__ import annotations

import sys
from typing import Any


def refuse() -> Any:
    """Stands for code of the program's own that fails while an object is rebuilt."""
    raise ValueError("not here")


class Breaks:
    """Can be pickled, and raises when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


class Leaves:
    """Can be pickled, and asks for the end of the process when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (7,)


class Stays:
    """Cannot be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("not from here")
