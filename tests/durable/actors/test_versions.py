"""What an older program has written is brought up to date; what a newer one has written is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import koboshi as kb


class Name1(msgspec.Struct):
    full: str = ""


class Name2(msgspec.Struct):
    first: str = ""
    last: str = ""


class Name3(msgspec.Struct):
    first: str
    last: str
    nick: str = "none"


class Old(kb.DurableActor[Name1]):
    @kb.message
    def put(self, full: str) -> None:
        self.state = Name1(full)


class Newer(kb.DurableActor[Name2]):
    schema_version = 2

    @kb.message
    def put(self, first: str) -> None:
        self.state = Name2(first, self.state.last)


def split(old: Any) -> Any:
    first, _, last = old["full"].partition(" ")
    return {"first": first, "last": last}


class Newest(kb.DurableActor[Name3]):
    schema_version = 3
    upcasters = {1: split, 2: lambda old: {**old, "nick": old["first"][:1]}}  # noqa: RUF012

    @kb.query
    def name(self) -> Name3:
        return self.state

    @kb.message
    def rename(self, nick: str) -> None:
        self.state = msgspec.structs.replace(self.state, nick=nick)


async def test_a_state_goes_through_one_upcaster_after_another(url: str) -> None:
    old = kb.durable(Old, store=url, type="Name")
    async with kb.Supervisor(old.child()):
        await old["a"].call(Old.put, "Grace Hopper")

    newest = kb.durable(Newest, store=url, type="Name")
    async with kb.Supervisor(newest.child()):
        assert Name3("Grace", "Hopper", "G") == await newest["a"].call(Newest.name)
        await newest["a"].call(Newest.rename, "Amazing")
    async with kb.Supervisor(newest.child()):
        assert Name3("Grace", "Hopper", "Amazing") == await newest["a"].call(Newest.name)

    async with kb.Supervisor(old.child()):
        with pytest.raises(kb.SchemaTooNew, match="version 3, and this program knows versions up to 1"):
            await old["a"].call(Old.put, "lost")


async def test_a_version_that_nothing_leads_from_is_refused_and_kept(url: str) -> None:
    old = kb.durable(Old, store=url, type="Name")
    async with kb.Supervisor(old.child()):
        await old["a"].call(Old.put, "Grace Hopper")
    newer = kb.durable(Newer, store=url, type="Name")
    async with kb.Supervisor(newer.child()):
        with pytest.raises(kb.NoUpcaster, match="add `1: a_function` to upcasters"):
            await newer["a"].call(Newer.put, "x")
        await newer["b"].call(Newer.put, "others go on")
    newest = kb.durable(Newest, store=url, type="Name")
    async with kb.Supervisor(newest.child()):
        assert "Hopper" == (await newest["a"].call(Newest.name)).last


async def test_a_state_of_another_shape_is_corrupted_and_not_empty(url: str) -> None:
    old = kb.durable(Old, store=url, type="Name")
    async with kb.Supervisor(old.child()):
        await old["a"].call(Old.put, "Grace Hopper")

    class Number(kb.DurableActor[int]):
        @kb.query
        def get(self) -> int:
            return self.state

    number = kb.durable(Number, store=url, type="Name")
    async with kb.Supervisor(number.child()):
        with pytest.raises(kb.Corrupted, match="does not fit"):
            await number["a"].call(Number.get)


@dataclass
class Point:
    x: int = 0
    y: int = 0


async def test_a_kind_may_change_its_codec(url: str) -> None:
    class Json(kb.DurableActor[Point]):
        codec = "json"

        @kb.message
        def move(self) -> Point:
            self.state.x += 1
            return self.state

    class Packed(kb.DurableActor[Point]):
        @kb.message
        def move(self) -> Point:
            self.state.x += 1
            return self.state

    for count, cls in enumerate((Json, Packed, Json), 1):
        points: kb.Durable[Any] = kb.durable(cls, store=url, type="Point")
        async with kb.Supervisor(points.child()):
            assert Point(count) == await points["p"].call(cls.move)  # type: ignore[attr-defined]


class Broken(msgspec.Struct):
    value: object = None


class Anything(kb.DurableActor[Broken]):
    @kb.message
    def keep(self, size: int) -> None:
        self.state = Broken("x" * size)

    @kb.message
    def keep_what_cannot_be_kept(self) -> None:
        self.state = Broken(lambda: None)

    @kb.query
    def size(self) -> int:
        return len(str(self.state.value or ""))


async def test_a_state_over_the_limit_or_that_cannot_be_stored_is_not_recorded(store: str) -> None:
    kind = kb.durable(Anything, store=store)
    async with kb.Supervisor(kind.child()):
        await kind["a"].call(Anything.keep, 5)
        with pytest.raises(kb.ActorExited) as caught:
            await kind["a"].call(Anything.keep, 17 * 1024 * 1024)
        assert isinstance(caught.value.__cause__, kb.PayloadTooLarge)
        with pytest.raises(kb.ActorExited) as caught:
            await kind["a"].call(Anything.keep_what_cannot_be_kept)
        assert isinstance(caught.value.__cause__, TypeError)

        assert 5 == await kind["a"].call(Anything.size)


def forget(_: Any) -> Any:
    raise KeyError("full")


def endless(old: Any) -> Any:
    return endless(old)


@pytest.mark.parametrize(
    ("upcaster", "says"),
    [
        (forget, r"upcaster 1 has failed on its state of version 1 with KeyError\('full'\)"),
        (endless, "upcaster 1 has failed on its state of version 1 with RecursionError"),
        (
            lambda old: old["full"],
            "have made of its state of version 1 does not fit: Expected `object`, got `str`",
        ),
    ],
)
async def test_an_upcaster_that_fails_is_named_and_the_row_is_not_to_blame(
    url: str, upcaster: Any, says: str
) -> None:
    class Wrong(Newer):
        upcasters = {1: upcaster}  # noqa: RUF012

    old = kb.durable(Old, store=url, type="Name")
    async with kb.Supervisor(old.child()):
        await old["a"].call(Old.put, "Grace Hopper")
    wrong = kb.durable(Wrong, store=url, type="Name")
    async with kb.Supervisor(wrong.child()):
        with pytest.raises(kb.UpcasterFailed, match=says) as failed:
            await wrong["a"].call(Wrong.put, "x")
        await wrong["b"].call(Wrong.put, "others go on")
    assert "read once the upcaster is mended" in str(failed.value)
    newest = kb.durable(Newest, store=url, type="Name")
    async with kb.Supervisor(newest.child()):
        assert "Hopper" == (await newest["a"].call(Newest.name)).last


@pytest.mark.parametrize(
    ("version", "upcasters", "says"),
    [
        (2, {1: split, 2: split}, "1 to 1 where the version is 2, got 2"),
        (2, {"1": split}, "1 to 1 where the version is 2, got '1'"),
        (2, {0: split}, "1 to 1 where the version is 2, got 0"),
        (0, {}, "the version of the state of .*Wrong takes a whole number >= 1, got 0"),
    ],
)
def test_versions_that_could_not_be_meant_are_refused_where_the_kind_is_made(
    version: int, upcasters: Any, says: str
) -> None:
    class Wrong(kb.DurableActor[Name2]):
        schema_version = version

    Wrong.upcasters = upcasters
    with pytest.raises(kb.UsageError, match=says):
        kb.durable(Wrong, store="memory://")


@dataclass
class Inner:
    new: int = 0


class Wider(msgspec.Struct):
    first: str = ""
    inner: Inner = msgspec.field(default_factory=Inner)
    by_name: dict[str, Inner] = {}
    pair: list[Inner] = []


@dataclass
class NoInner: ...


class Narrower(msgspec.Struct):
    first: str = ""
    inner: NoInner = msgspec.field(default_factory=NoInner)
    by_name: dict[str, NoInner] = {}
    pair: list[NoInner] = []


class OneField(msgspec.Struct):
    first: str = ""


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("written", "unknown"),
    [
        (Wider("Grace", by_name={"a": Inner(5)}), "'new', which Narrower does not have"),
        (Wider("Grace", pair=[Inner(5)]), "'new', which Narrower does not have"),
        (Wider("Grace"), "'inner', which OneField does not have"),
    ],
)
async def test_a_field_that_another_program_has_stored_under_the_same_version_is_not_dropped(
    url: str, codec: str, written: Wider, unknown: str
) -> None:
    reads: Any = OneField if "OneField" in unknown else Narrower

    def kind(of: Any) -> Any:
        class Holder(kb.DurableActor[of]):
            @kb.message
            def put(self, state: Any) -> None:
                self.state = state

            @kb.message
            def show(self) -> Any:
                return self.state

        Holder.codec = codec
        return Holder, kb.durable(Holder, store=url, type="Holder")

    written_by, newer = kind(Wider)
    async with kb.Supervisor(newer.child()):
        await newer["a"].call(written_by.put, written)
    read_by, older = kind(reads)
    async with kb.Supervisor(older.child()):
        with pytest.raises(kb.NoUpcaster, match=f"has the field {unknown}, .* raise its version to 2"):
            await older["a"].call(read_by.put, reads("lost"))
    async with kb.Supervisor(newer.child()):
        assert written == await newer["a"].call(written_by.show)


class Brief(msgspec.Struct, omit_defaults=True, tag=True, rename="camel"):
    mode_name: str = "new"
    ids: set[int] = set()


class BriefLater(msgspec.Struct, omit_defaults=True, tag="Brief", rename="camel"):
    mode_name: str = "old"
    ids: set[int] = set()
    by_id: dict[int, str] = {}


async def test_another_default_or_another_field_with_one_needs_no_version(url: str) -> None:
    class First(kb.DurableActor[Brief]):
        @kb.message
        def put(self) -> None:
            self.state = Brief("old", {1, 2})

    class Second(kb.DurableActor[BriefLater]):
        @kb.message
        def show(self) -> BriefLater:
            self.state.by_id[1] = "one"
            return self.state

    first, second = kb.durable(First, store=url, type="T"), kb.durable(Second, store=url, type="T")
    async with kb.Supervisor(first.child()):
        await first["a"].call(First.put)
    for _ in range(2):
        async with kb.Supervisor(second.child()):
            assert BriefLater("old", {1, 2}, {1: "one"}) == await second["a"].call(Second.show)


async def test_a_type_that_has_changed_without_a_version_is_named_as_such(url: str) -> None:
    old = kb.durable(Old, store=url, type="Name")
    async with kb.Supervisor(old.child()):
        await old["a"].call(Old.put, "Grace Hopper")

    class Changed(kb.DurableActor[Name3]):
        def initial(self) -> Name3:
            return Name3("", "")

        @kb.query
        def name(self) -> Name3:
            return self.state

    changed = kb.durable(Changed, store=url, type="Name")
    async with kb.Supervisor(changed.child()):
        with pytest.raises(
            kb.NoUpcaster, match=r"does not fit Name3: .*`first`; if the type has changed, raise its"
        ):
            await changed["a"].call(Changed.name)
