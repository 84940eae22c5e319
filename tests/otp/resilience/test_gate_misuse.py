"""What a gate refuses to go round."""

from __future__ import annotations

import pytest

import koboshi as kb
from koboshi import otp


async def test_a_function_that_is_not_async_is_refused_by_name() -> None:
    with pytest.raises(
        kb.UsageError, match=r"shop goes round async functions; <built-in function len> is none"
    ):
        await otp.Bulkhead("shop", limit=1).call(len, "abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("reset", ["1s", (1.0,), [1.0, 2.0]])
def test_a_reset_that_is_none_is_refused_by_the_name_of_the_option(reset: object) -> None:
    with pytest.raises(kb.UsageError, match=r"^reset takes kb\.Backoff"):
        otp.CircuitBreaker(reset=reset)  # type: ignore[arg-type]
