"""The verdicts of a supervisor, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import koboshi as kb
from koboshi._supervision._restart import (
    affected,
    auto_shuts_down,
    backoff_of,
    budget_of,
    refund,
    should_restart,
)

CLEAN = [kb.Normal(), kb.Shutdown(), kb.Shutdown("a detail")]
UNCLEAN = [
    kb.Killed(),
    kb.Kill(),
    kb.Crashed(ValueError()),
    kb.Exited("why"),
    kb.NoProc(),
    kb.NoConnection("n"),
    kb.Shutdown(kb.GaveUp("child", kb.Killed())),
]
times = st.lists(st.integers(0, 100).map(float), max_size=30).map(sorted)


@pytest.mark.parametrize("reason", CLEAN + UNCLEAN, ids=repr)
def test_a_permanent_child_is_always_and_a_temporary_one_never_restarted(reason: kb.ExitReason) -> None:
    assert should_restart("permanent", reason)
    assert not should_restart("temporary", reason)


@pytest.mark.parametrize("reason", CLEAN, ids=repr)
def test_a_transient_child_is_left_alone_after_normal_and_shutdown(reason: kb.ExitReason) -> None:
    assert not should_restart("transient", reason)


@pytest.mark.parametrize("reason", UNCLEAN, ids=repr)
def test_a_transient_child_is_restarted_after_any_other_end_also_killed_and_gave_up(
    reason: kb.ExitReason,
) -> None:
    assert should_restart("transient", reason)


def test_the_default_budget_is_three_in_five_seconds() -> None:
    assert kb.Budget(3, 5.0) == kb.Budget()


def test_restart_number_max_plus_one_inside_the_window_trips() -> None:
    budget, verdicts = kb.Budget(3, 5.0), []
    history: tuple[float, ...] = ()
    for now in (1.0, 2.0, 3.0, 4.0):
        history, allowed = budget.spend(history, now)
        verdicts.append(allowed)

    assert [True, True, True, False] == verdicts


def test_no_restart_at_all_is_allowed_with_a_budget_of_none() -> None:
    assert ((7.0,), False) == kb.Budget(0, 5.0).spend((), 7.0)


def test_a_restart_exactly_as_old_as_the_window_still_counts() -> None:
    budget = kb.Budget(1, 5.0)

    assert ((0.0, 5.0), False) == budget.spend((0.0,), 5.0)
    assert ((5.0001,), True) == budget.spend((0.0,), 5.0001)


@given(times, st.integers(0, 5), st.integers(1, 20).map(float))
def test_a_budget_allows_what_a_recount_of_all_restarts_allows(
    at: list[float], most: int, within: float
) -> None:
    budget = kb.Budget(most, within)
    history: tuple[float, ...] = ()
    for number, now in enumerate(at):
        history, allowed = budget.spend(history, now)
        recount = [each for each in at[: number + 1] if now - each <= within]

        assert tuple(recount) == history
        assert allowed == (len(recount) <= most)


@given(times, times)
def test_a_refund_takes_each_spent_restart_out_once(spent: list[float], others: list[float]) -> None:
    assert others == sorted(refund(sorted(spent + others), spent))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((-1, 5.0), "max_restarts"), ((1.5, 5.0), "max_restarts"), ((3, 0), "within"), ((3, -1.0), "within")],
)
def test_a_budget_refuses_impossible_values_by_name(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(kb.UsageError, match=said):
        kb.Budget(*arguments)  # type: ignore[arg-type]


def test_the_wait_grows_by_its_factor_up_to_its_maximum() -> None:
    backoff = kb.Backoff(0.1, 1.0, factor=2.0)

    assert [0.1, 0.2, 0.4, 0.8, 1.0, 1.0] == [backoff.delay(n, lambda: 0.5) for n in range(1, 7)]


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_the_wait_stays_between_its_jitter_and_its_maximum(
    failures: int, jitter: float, drawn: float
) -> None:
    wait = kb.Backoff(0.5, 8.0, 3.0, jitter).delay(failures, lambda: drawn)
    full = kb.Backoff(0.5, 8.0, 3.0).delay(failures, lambda: drawn)

    assert full * (1 - jitter) - 1e-9 <= wait <= full + 1e-9


def test_a_row_of_failures_is_forgotten_after_reset_after_or_else_the_longest_wait() -> None:
    assert kb.Backoff(1.0, 8.0).forgets(8.0)
    assert not kb.Backoff(1.0, 8.0).forgets(7.9)
    assert kb.Backoff(1.0, 8.0, reset_after=2.0).forgets(2.0)


@pytest.mark.parametrize(
    "values",
    [(2.0, 1.0), (-1.0, 1.0), (1.0, 2.0, 0.5), (1.0, 2.0, 2.0, 1.5), (1.0,), 5, "fast", (1, 2, 3, 0, 5, 6)],
)
def test_a_backoff_refuses_impossible_values(values: object) -> None:
    with pytest.raises(kb.UsageError, match="backoff"):
        backoff_of(values)


@pytest.mark.parametrize("values", [3, (3,), "often", (1, 2, 3)])
def test_a_childs_budget_refuses_what_is_no_pair(values: object) -> None:
    with pytest.raises(kb.UsageError, match="budget"):
        budget_of(values)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(list(range(n))), st.integers(0, n - 1))))
def test_each_strategy_takes_whom_it_says_in_start_order(case: tuple[list[int], int]) -> None:
    order, failed = case

    assert [failed] == list(affected("one_for_one", order, failed))
    assert order == list(affected("one_for_all", order, failed))
    assert [each for each in order if each >= failed] == list(affected("rest_for_one", order, failed))


@pytest.mark.parametrize("reason", CLEAN + UNCLEAN, ids=repr)
def test_a_significant_temporary_child_counts_however_it_ends(reason: kb.ExitReason) -> None:
    assert auto_shuts_down(
        "any_significant", significant=True, restart="temporary", reason=reason, others_active=True
    )


@pytest.mark.parametrize("reason", CLEAN + UNCLEAN, ids=repr)
def test_a_significant_transient_child_counts_only_when_it_ends_cleanly(reason: kb.ExitReason) -> None:
    assert reason.clean == auto_shuts_down(
        "any_significant", significant=True, restart="transient", reason=reason, others_active=False
    )


def test_all_significant_waits_for_the_last_one_and_never_never_fires() -> None:
    end = {"significant": True, "restart": "temporary", "reason": kb.Normal()}

    assert not auto_shuts_down("all_significant", others_active=True, **end)  # type: ignore[arg-type]
    assert auto_shuts_down("all_significant", others_active=False, **end)  # type: ignore[arg-type]
    assert not auto_shuts_down("never", others_active=False, **end)  # type: ignore[arg-type]
    assert not auto_shuts_down(
        "any_significant", significant=False, restart="temporary", reason=kb.Normal(), others_active=False
    )
