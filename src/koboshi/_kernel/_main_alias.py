"""The name under which another process imports the program's own script."""

from __future__ import annotations

__all__ = ["MAIN_ALIAS", "module_of"]

MAIN_ALIAS = "__koboshi_main__"


def module_of(cls: type) -> str:
    """The module of a class as the program knows it, on whatever node it is asked."""
    return "__main__" if cls.__module__ == MAIN_ALIAS else cls.__module__
