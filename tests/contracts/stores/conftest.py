"""Assertions of the contract explain themselves as those of test files do."""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.stores.rows",
    "tests.contracts.stores.values",
    "tests.contracts.stores.groups",
    "tests.contracts.stores.hosts",
    "tests.contracts.stores.faults",
    "tests.contracts.stores.queries",
    "tests.contracts.stores.schema",
    "tests.contracts.stores.taking",
    "tests.contracts.stores.waits",
)
