"""The pytest plugin of koboshi: the marker `koboshi_virtual` and the option `--koboshi-record`.

pytest loads it in every run of an environment that has koboshi installed. So it stands outside of the
package, and imports koboshi when a test asks for something of it and not before.
"""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]


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
        from koboshi.testing._protocol import RECORD_VARIABLE

        os.environ[RECORD_VARIABLE] = "1"
        config.add_cleanup(functools.partial(os.environ.__delitem__, RECORD_VARIABLE))


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Make plain tests of the marked async ones, so that no other plugin runs them on its own loop."""
    for item in items:
        marker = item.get_closest_marker("koboshi_virtual")
        if marker is not None and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.obj = _in_virtual_time(item.obj, marker.kwargs)


def _in_virtual_time(test: Any, options: dict[str, Any]) -> Any:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        from koboshi.testing import run_virtual

        return run_virtual(lambda: test(*args, **kwargs), **options)

    return run
