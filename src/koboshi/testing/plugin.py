"""The pytest plugin by its public name: `-p koboshi.testing.plugin`. What it does is in `koboshi_pytest`."""

from __future__ import annotations

from koboshi_pytest import pytest_addoption, pytest_collection_modifyitems, pytest_configure

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]
