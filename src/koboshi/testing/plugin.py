"""The pytest plugin: the marker `koboshi_virtual` and the option `--koboshi-record`.

Without either of them it changes nothing.
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

from ._protocol import RECORD_VARIABLE
from ._time import run_virtual

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("koboshi")
    group.addoption(
        "--koboshi-record",
        action="store_true",
        help="check_protocol writes its files instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and hand the option on."""
    config.addinivalue_line(
        "markers",
        "koboshi_virtual(autojump=True, real='wait'): run this async test in virtual time",
    )
    if config.getoption("--koboshi-record"):
        os.environ[RECORD_VARIABLE] = "1"
        config.add_cleanup(_stop_recording)


def _stop_recording() -> None:
    os.environ.pop(RECORD_VARIABLE, None)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Make plain tests of the marked async ones, so that no other plugin runs them on its own loop."""
    for item in items:
        marker = item.get_closest_marker("koboshi_virtual")
        if marker is not None and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.obj = _in_virtual_time(item.obj, marker.kwargs)


def _in_virtual_time(test: Any, options: dict[str, Any]) -> Any:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return run_virtual(lambda: test(*args, **kwargs), **options)

    return run
