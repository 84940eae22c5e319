"""How functions get to a runner: by name, with a digest of their code; closures by value.

A name is enough where both sides have the module, and it is always the right code if the digest agrees. The
digest is taken from the compiled code, because that is what runs: the file may have been changed since.
Closures and lambdas have no name that could be imported, so they need cloudpickle.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from ...wire._pickle import loads
from ._errors import CodeMismatch, ExtraMissing


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A function on its way: where it is found, or itself as `blob`."""

    module: str
    qualname: str
    digest: str = ""
    blob: bytes = b""

    @property
    def name(self) -> str:
        """How it prints."""
        return f"{self.module}.{self.qualname}"


def refer(function: Callable[..., Any]) -> CodeRef:
    """Refer to a function.

    Raises:
        ExtraMissing: it can only be sent by value, and cloudpickle is not installed.
        UsageError: it cannot be sent at all.
    """
    function = getattr(function, "__wrapped_for_runners__", function)
    module = getattr(function, "__module__", None) or "builtins"
    qualname = getattr(function, "__qualname__", repr(function))
    if "<" not in qualname and _find(module, qualname) is function:
        return CodeRef(module, qualname, digest(function))
    return CodeRef(module, qualname, blob=_by_value(function, qualname))


def resolve(ref: CodeRef) -> Callable[..., Any]:
    """The function, where it is to run.

    Raises:
        CodeMismatch: it has other code here.
        ImportError, AttributeError: it cannot be found here.
    """
    if ref.blob:
        found: Callable[..., Any] = loads(ref.blob)
        return found
    function = _resolve_name(ref.module, ref.qualname)
    if ref.digest and digest(function) != ref.digest:
        raise CodeMismatch(ref.name)
    return function


def digest(function: Callable[..., Any]) -> str:
    """Digest of a function's code; empty for what is not written in Python."""
    code = getattr(function, "__code__", None)
    return _digest(code) if isinstance(code, CodeType) else ""


@functools.lru_cache(maxsize=4096)
def _digest(code: CodeType) -> str:
    found = hashlib.sha256()
    _feed(found, code)
    return found.hexdigest()


def _feed(found: Any, code: CodeType) -> None:
    found.update(code.co_code)
    found.update(repr((code.co_names, code.co_varnames, code.co_argcount, code.co_kwonlyargcount)).encode())
    for const in code.co_consts:
        if isinstance(const, CodeType):
            _feed(found, const)
        elif isinstance(const, frozenset):
            values: frozenset[object] = const  # pyright: ignore[reportUnknownVariableType]
            found.update(repr(sorted(map(repr, values))).encode())  # its order depends on the process
        else:
            found.update(repr(const).encode())


def _find(module: str, qualname: str) -> Any:
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return getattr(found, "__wrapped_for_runners__", found)


def _resolve_name(module: str, qualname: str) -> Callable[..., Any]:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    function: Callable[..., Any] = getattr(found, "__wrapped_for_runners__", found)
    return function


def _by_value(function: Callable[..., Any], qualname: str) -> bytes:
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError:
        raise ExtraMissing(
            f"{qualname} is a closure, a lambda or not at the top level of a module, so it is sent by value",
            "pickle",
        ) from None
    blob: bytes = cloudpickle.dumps(function, 5)
    return blob
