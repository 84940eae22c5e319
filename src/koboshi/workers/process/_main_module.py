"""Lets workers find functions that the user defined in the script itself.

A function of `__main__` is pickled as "`fn` of module `__main__`", but a worker's
`__main__` is not the user's script. So the worker gets a stand-in that imports the
script under another name the first time something is looked up in it; the script's
`if __name__ == "__main__"` block is therefore not run again.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..._kernel._main_alias import MAIN_ALIAS

__all__ = ["MAIN_ALIAS", "alias_main", "install_main", "is_importing_main", "main_source"]

_importing = False


def main_source() -> tuple[str, str] | None:
    """Where the running script came from: ("name", module) or ("path", file), or None.

    None for `python -c`, the prompt and notebooks: a worker cannot import those.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return ("name", str(spec.name))
    path = getattr(main, "__file__", None)
    if path is None or str(path).startswith("<"):
        return None
    return ("path", os.path.abspath(path))


def alias_main() -> None:
    """In the root: let what workers made of the script's classes be found here again."""
    sys.modules.setdefault(MAIN_ALIAS, sys.modules["__main__"])


def install_main(source: tuple[str, str] | None) -> None:
    """In a worker: put the stand-in where pickled names will be looked up."""
    stand_in = _LazyMain(source)
    sys.modules["__main__"] = stand_in
    sys.modules[MAIN_ALIAS] = stand_in


def is_importing_main() -> bool:
    """Whether this process is a worker in the middle of importing the user's script."""
    return _importing


class _LazyMain(ModuleType):
    """The user's script, run on the first look-up of a name that is not there yet."""

    def __init__(self, source: tuple[str, str] | None) -> None:
        super().__init__(MAIN_ALIAS)
        self.__dict__["_koboshi_source"] = source
        self.__dict__["_koboshi_loaded"] = False

    def __getattr__(self, name: str) -> Any:
        if not self.__dict__["_koboshi_loaded"] and not name.startswith("__"):
            self.__dict__["_koboshi_loaded"] = True
            _run_main(self, self.__dict__["_koboshi_source"])
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(
            f"the program's main module has no {name!r} that a worker can import: "
            'define it at top level, outside `if __name__ == "__main__"`'
        )


def _run_main(module: ModuleType, source: tuple[str, str] | None) -> None:
    """Execute the script in `module`'s own namespace."""
    global _importing
    if source is None:
        return
    kind, place = source
    if kind == "name":
        spec = importlib.util.find_spec(place)
        get_code = getattr(spec.loader, "get_code", None) if spec is not None else None
        if spec is None or get_code is None:
            raise ImportError(f"a worker cannot import the main module {place!r}")
        code = get_code(place)
        module.__dict__.update(__file__=spec.origin, __package__=spec.parent)
    else:
        # Compiled here: a script need not have a name that the import system accepts.
        code = compile(Path(place).read_bytes(), place, "exec")
        module.__dict__.update(__file__=place, __package__=None)
    _importing = True
    try:
        exec(code, module.__dict__)
    except BaseException:
        module.__dict__["_koboshi_loaded"] = False
        raise
    finally:
        _importing = False
