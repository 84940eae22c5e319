"""The order of starts: needs first, else as listed; what cannot be ordered is refused by name."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import koboshi as kb
from koboshi import otp
from koboshi.otp.application._order import start_order


def test_an_application_comes_behind_what_it_needs() -> None:
    assert ("store", "web") == start_order({"web": ("store",), "store": ()})


def test_without_needs_the_order_is_as_listed() -> None:
    assert ("c", "a", "b") == start_order({"c": (), "a": (), "b": ()})


def test_a_need_of_several_is_started_once() -> None:
    needs: dict[str, tuple[str, ...]] = {
        "top": ("left", "right"),
        "left": ("base",),
        "right": ("base",),
        "base": (),
    }

    assert ("base", "left", "right", "top") == start_order(needs)


def test_a_missing_dependency_is_named_with_who_needs_it() -> None:
    with pytest.raises(otp.MissingDependency, match=r"'web' needs 'stoer'.*'web', 'store'") as caught:
        start_order({"web": ("stoer",), "store": ()})

    assert ("web", "stoer") == (caught.value.application, caught.value.missing)


def test_a_cycle_is_named_without_those_that_only_lead_to_it() -> None:
    with pytest.raises(otp.DependencyCycle, match="b -> c -> b") as caught:
        start_order({"a": ("b",), "b": ("c",), "c": ("b",)})

    assert ("b", "c", "b") == caught.value.path


def test_an_application_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(otp.DependencyCycle, match="a -> a"):
        start_order({"a": ("a",)})


def test_a_chain_may_be_deeper_than_the_stack() -> None:
    names = [str(number) for number in range(3000)]
    needs = {name: (names[index + 1],) if index < 2999 else () for index, name in enumerate(names)}

    assert tuple(reversed(names)) == start_order(needs)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Who needs whom, anybody anybody."""
    names = draw(st.lists(st.sampled_from("abcdefg"), unique=True, min_size=1))
    needs = st.lists(st.sampled_from(names), unique=True, max_size=3).map(tuple)
    return {name: draw(needs) for name in names}


def reaches_itself(needs: dict[str, tuple[str, ...]], start: str) -> bool:
    seen: set[str] = set()
    todo = list(needs[start])
    while todo:
        name = todo.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            todo += needs[name]
    return False


@given(graphs())
def test_every_graph_is_ordered_or_has_a_cycle_that_is_one(needs: dict[str, tuple[str, ...]]) -> None:
    try:
        order = start_order(needs)
    except otp.DependencyCycle as cycle:
        path = cycle.path
        assert path[0] == path[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(path))
        return

    assert sorted(needs) == sorted(order)
    assert not any(reaches_itself(needs, name) for name in needs)
    assert all(order.index(each) < order.index(name) for name in needs for each in needs[name])


@pytest.mark.parametrize(
    "error",
    [
        otp.MissingDependency("web", "store", ("web",)),
        otp.DependencyCycle(("a", "b", "a")),
        otp.ApplicationNotStarted("web", ("store",)),
        otp.ApplicationInUse("store", ("web",)),
        otp.ConfigError("shop.toml", "db.port", "expected `int`", "'x'"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_a_pickle(error: Any) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))


class Web(otp.Application):
    """Needs what tests leave out."""

    needs = ("store",)


def test_a_program_is_refused_before_anything_of_it_starts() -> None:
    with pytest.raises(otp.MissingDependency):
        otp.Applications(Web())


def test_two_applications_of_one_name_are_refused() -> None:
    class Store(otp.Application):
        pass

    with pytest.raises(kb.UsageError, match="two applications have the name 'store'"):
        otp.Applications(Store(), Store())


def test_a_class_in_place_of_an_application_is_refused_with_what_to_write() -> None:
    with pytest.raises(kb.UsageError, match=r"make one: Web\(\.\.\.\)"):
        otp.Applications(Web)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("restart", "always", "restart of Bad is one of 'permanent'.*'always'"),
        ("needs", "store", r"needs of Bad is a tuple of names.*'store'"),
        ("phases", ["warm"], r"phases of Bad is a tuple of names.*\['warm'\]"),
        ("name", "", "name of Bad is a string that is not empty"),
    ],
)
def test_options_of_an_application_are_checked_when_its_class_is_made(
    option: str, value: object, said: str
) -> None:
    with pytest.raises(kb.UsageError, match=said):
        type("Bad", (otp.Application,), {option: value})
