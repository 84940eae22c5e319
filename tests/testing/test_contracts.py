"""Recorded message protocols: which changes of a class break its senders, and which do not."""

from __future__ import annotations

import enum
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar, Union

import msgspec
import pytest

import koboshi as kb
from koboshi import testing
from koboshi.testing._schema import accepts

T = TypeVar("T")


@dataclass
class Order:
    item: str
    count: int = 1


class Shop(kb.Actor):
    @kb.message
    def buy(self, order: Order, /, *, gift: bool = False) -> int:
        return order.count

    @kb.message
    async def find(self, name: str) -> Order | None:
        return None

    @kb.message
    def watch(self, ref: kb.ActorRef[kb.Actor]) -> None: ...


def test_a_protocol_is_plain_data_that_json_can_hold() -> None:
    found = testing.protocol(Shop)

    assert found == json.loads(json.dumps(found))
    assert ["buy", "find", "watch"] == list(found["messages"])
    buy = found["messages"]["buy"]
    assert [("order", "positional", False), ("gift", "keyword", True)] == [
        (each["name"], each["kind"], each["default"]) for each in buy["parameters"]
    ]
    assert {"type": "integer"} == buy["returns"]
    watched = found["messages"]["watch"]["parameters"][0]["type"]
    assert ["python"] == list(watched)


def one(fn: Callable[..., Any]) -> type[kb.Actor]:
    """An actor class with one message `act`."""
    fn.__name__ = "act"
    return type("Shop", (kb.Actor,), {"act": kb.message(fn)})


def plain(self: Any, a: int) -> int: ...  # type: ignore[empty-body]
def more(self: Any, a: int, b: int) -> int: ...  # type: ignore[empty-body]
def more_default(self: Any, a: int, b: int = 0) -> int: ...  # type: ignore[empty-body]
def first(self: Any, b: int = 0, a: int = 0) -> int: ...  # type: ignore[empty-body]
def keyword(self: Any, *, a: int) -> int: ...  # type: ignore[empty-body]
def rest(self: Any, a: int, *more: int) -> int: ...  # type: ignore[empty-body]
def wide(self: Any, a: int | str) -> int: ...  # type: ignore[empty-body]
def optional(self: Any, a: int) -> int | None: ...
def literal(self: Any, a: Literal[1, 2]) -> int: ...  # type: ignore[empty-body]
def number(self: Any, a: float) -> int: ...  # type: ignore[empty-body]
def star(self: Any, a: int, b: int = 0, *more: int) -> int: ...  # type: ignore[empty-body]
def star_keyword(self: Any, a: int, *more: int, b: int = 0) -> int: ...  # type: ignore[empty-body]
def star_renamed(self: Any, a: int, *others: int) -> int: ...  # type: ignore[empty-body]
def named(self: Any, **others: int) -> int: ...  # type: ignore[empty-body]
def named_text(self: Any, *, b: str = "", **others: int) -> int: ...  # type: ignore[empty-body]
def named_number(self: Any, *, b: int = 0, **others: int) -> int: ...  # type: ignore[empty-body]
def by_place(self: Any, a: int, /) -> int: ...  # type: ignore[empty-body]
def by_place_renamed(self: Any, x: int, /) -> int: ...  # type: ignore[empty-body]
def renamed(self: Any, x: int) -> int: ...  # type: ignore[empty-body]


BREAKING = [
    (plain, more, "parameter b is new, without default"),
    (plain, renamed, "parameter a is gone"),
    (plain, keyword, "parameter a is keyword, was any"),
    (more_default, plain, "parameter b is gone"),
    (more_default, more, "parameter b has lost its default"),
    (more_default, first, "positional parameters have another order"),
    (wide, plain, "parameter a takes integer, was integer | string"),
    (number, plain, "parameter a takes integer, was number"),
    (plain, literal, "parameter a takes "),
    (plain, optional, "returns integer | null, was integer"),
    (rest, plain, "parameter more is gone"),
    (rest, star, "positional parameters have another order"),
    (star_keyword, star, "positional parameters have another order"),
    (named, named_text, "parameter b is new and takes less than others did"),
]
COMPATIBLE = [
    (plain, more_default),
    (more, more_default),
    (plain, wide),
    (plain, number),
    (literal, plain),
    (optional, plain),
    (keyword, plain),
    (plain, rest),
    (rest, star_keyword),
    (rest, star_renamed),
    (named, named_number),
    (by_place, by_place_renamed),
    (by_place, plain),
]


@pytest.mark.parametrize(("then", "now", "text"), BREAKING, ids=[text for _, _, text in BREAKING])
def test_what_breaks_senders_fails_and_says_what(
    tmp_path: Path, then: Callable[..., Any], now: Callable[..., Any], text: str
) -> None:
    path = tmp_path / "shop.json"
    testing.check_protocol(one(then), path, record=True)
    with pytest.raises(testing.ProtocolChanged) as caught:
        testing.check_protocol(one(now), path)

    assert any(each.startswith(f"~ act: {text}") for each in caught.value.changes), caught.value
    assert "--koboshi-record" in str(caught.value)


@pytest.mark.parametrize(("then", "now"), COMPATIBLE)
def test_what_does_not_break_senders_asks_to_be_recorded(
    tmp_path: Path, then: Callable[..., Any], now: Callable[..., Any]
) -> None:
    path = tmp_path / "shop.json"
    testing.check_protocol(one(then), path, record=True)
    with pytest.raises(testing.ProtocolNotRecorded, match="compatible changes"):
        testing.check_protocol(one(now), path)
    testing.check_protocol(one(now), path, record=True)
    testing.check_protocol(one(now), path)


def test_a_message_that_is_gone_breaks_and_a_new_one_does_not(tmp_path: Path) -> None:
    class Less(kb.Actor):
        find = Shop.find
        watch = Shop.watch

    Less.__qualname__ = "Shop"
    path = tmp_path / "shop.json"
    testing.check_protocol(Shop, path, record=True)
    with pytest.raises(testing.ProtocolChanged, match="- buy: the message is gone"):
        testing.check_protocol(Less, path)
    testing.check_protocol(Less, path, record=True)
    with pytest.raises(testing.ProtocolNotRecorded, match=r"\+ buy: a new message"):
        testing.check_protocol(Shop, path)


def test_async_or_not_makes_no_difference(tmp_path: Path) -> None:
    async def later(self: Any, a: int) -> int:
        return a

    path = tmp_path / "shop.json"
    testing.check_protocol(one(plain), path, record=True)

    testing.check_protocol(one(later), path)


def test_a_field_that_became_necessary_breaks(tmp_path: Path) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": []}
    needed = {**schema, "required": ["a"]}

    assert accepts(schema, needed)
    assert not accepts(needed, schema)
    assert accepts({}, needed)
    assert not accepts(needed, {})


def schema_of(*types: Any) -> Any:
    """What a parameter of these types takes."""

    def act(self: Any, a: Any) -> None: ...

    act.__annotations__["a"] = Union[types]  # noqa: UP007 - of what only this call knows
    return testing.protocol(one(act))["messages"]["act"]["parameters"][0]["type"]


def fields(name: str, tag: str | None = None, **types: Any) -> Any:
    """A struct, or a form of it from another day."""
    return msgspec.defstruct(name, list(types.items()), tag=tag, namespace={"__qualname__": name})


class Chain(msgspec.Struct):
    behind: Chain | None


class OtherChain(msgspec.Struct):
    behind: str | None


def test_a_field_of_a_struct_that_holds_itself_is_compared_in_a_union_as_well() -> None:
    text = json.loads(json.dumps(schema_of(int, OtherChain)).replace("OtherChain", "Chain"))

    assert accepts(schema_of(int, Chain), schema_of(int, Chain))
    assert not accepts(text, schema_of(int, Chain))
    assert not accepts(schema_of(int, Chain), text)


def test_members_of_a_union_with_tags_are_compared_and_more_of_them_take_more() -> None:
    ship, bike = fields("Ship", "ship", load=int), fields("Bike", "bike", load=int)
    text = fields("Ship", "ship", load=str)
    plane = fields("Plane", "plane", load=int)

    assert accepts(schema_of(ship, bike, plane), schema_of(ship, bike))
    assert not accepts(schema_of(ship, bike), schema_of(ship, bike, plane))
    assert not accepts(schema_of(text, bike), schema_of(ship, bike))


def test_a_constant_number_is_a_number() -> None:
    assert accepts(schema_of(float), schema_of(Literal[1]))
    assert not accepts(schema_of(float), schema_of(Literal["1"]))


def test_a_file_that_is_not_there_or_holds_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    with pytest.raises(testing.ProtocolNotRecorded, match="the protocol of Shop is not in"):
        testing.check_protocol(Shop, path)
    path.write_text("[]")
    with pytest.raises(kb.UsageError, match="holds no recorded protocol"):
        testing.check_protocol(Shop, path)
    with pytest.raises(kb.UsageError, match=r"protocol takes a subclass of kb\.Actor, got <class 'int'>"):
        testing.protocol(int)  # type: ignore[arg-type]


def test_the_variable_of_the_option_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "below" / "shop.json"
    monkeypatch.setenv("KOBOSHI_RECORD", "1")
    testing.check_protocol(Shop, path)
    monkeypatch.delenv("KOBOSHI_RECORD")

    testing.check_protocol(Shop, path)
    assert path.read_text() == json.dumps(testing.protocol(Shop), indent=2, sort_keys=True) + "\n"


def test_the_errors_survive_a_pickle() -> None:
    for kind in (testing.ProtocolChanged, testing.ProtocolNotRecorded):
        error = kind("Shop", "shop.json", ("- buy",))
        again = pickle.loads(pickle.dumps(error))
        assert (str(error), vars(error)) == (str(again), vars(again))


# -- classes that look alike in JSON -----------------------------------------------------------------------------


class Point(msgspec.Struct):
    x: int


class Place(msgspec.Struct):
    x: int


class Far(Point): ...


class Row(NamedTuple):
    x: int


class Fields(TypedDict):
    x: int


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    RED = "red"


class Holder(msgspec.Struct, Generic[T]):
    value: T
    at: datetime
    next: Holder[T] | None = None
    many: list[Point] = []


APART = [
    *[(str, bytes), (str, datetime), (bytes, bytearray), (str, Colour), (Colour, Word)],
    *[
        (list[int], tuple[int, ...]),
        (list[int], set[int]),
        (set[int], frozenset[int]),
        (list[int], tuple[int, int]),
    ],
    *[(Point, Place), (Point, Order), (Point, Fields), (Point | None, Place | None)],
    *[
        (list[Point], list[Place]),
        (dict[str, Point], dict[str, Place]),
        (tuple[Point, int], tuple[Place, int]),
    ],
    *[(Holder[list[int]], Holder[tuple[int, ...]]), (Point | int | None, Place | int | None)],
]
TAKES = [
    *[(Sequence[int], list[int]), (Sequence[int], tuple[int, ...]), (Mapping[str, int], dict[str, int])],
    *[(Point, Far), (str, Word), (tuple[int], Row), (dict[str, Any], Fields), (Point | None, Far)],
]
SAME = [
    *[Point, Far, Order, Row, Fields, Colour, Word, Holder[int], Holder[list[Point]], Point | Colour | None],
    *[list[int], tuple[int, ...], tuple[Point, Row], set[str], dict[str, Point | None], datetime, bytes, Any],
    *[
        Annotated[list[int], msgspec.Meta(min_length=1)],
        Annotated[datetime, msgspec.Meta(tz=True)],
        int | str,
    ],
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_classes_that_look_alike_in_json_are_told_apart(one: Any, other: Any) -> None:
    assert not accepts(schema_of(one), schema_of(other))
    assert not accepts(schema_of(other), schema_of(one))


@pytest.mark.parametrize(("wide", "narrow"), TAKES)
def test_what_stands_for_several_classes_takes_each_of_them_and_not_the_reverse(
    wide: Any, narrow: Any
) -> None:
    assert accepts(schema_of(wide), schema_of(narrow))
    assert not accepts(schema_of(narrow), schema_of(wide))


@pytest.mark.parametrize("hint", SAME)
def test_a_type_takes_itself(hint: Any) -> None:
    assert schema_of(hint) == schema_of(hint)
    assert accepts(schema_of(hint), schema_of(hint))


def test_a_field_of_another_class_makes_another_type() -> None:
    then, now = (schema_of(msgspec.defstruct("Event", [("at", of)])) for of in (datetime, str))
    first, second = (
        schema_of(msgspec.defstruct("Event", [("at", of)])) for of in (list[int], tuple[int, ...])
    )

    for one, other in ((then, now), (first, second)):
        assert not accepts(one, other)
        assert not accepts(other, one)
