"""What every engine gives back: exactly what was put in, and keys that are the same only byte by byte."""

from __future__ import annotations

import pytest

from koboshi.durable.stores import Select, Session
from koboshi.durable.stores._tables import ACTOR, COUNTER

from .place import Place
from .rows import COLUMNS, KEY

NAMES = [
    *("a", "A", "a ", " a", "a  ", "\u00e1", "a\u0301", "\u00df", "ss", "SS", "", " ", "I", "i", "\u0131"),
    *(
        "\u0130",
        "%",
        "%s",
        "_",
        ":name",
        "?",
        "$1",
        "'",
        '"',
        "\\",
        "\\'",
        "it's",
        "\n",
        "\t",
        "\x1a",
        "\x7f",
    ),
    *("0", "00", "1e1", "null", "\U0001f600", "\U0001f601", "\ufeffa", "a\u200b", "\u65e5\u672c"),
    *("x" * 255, "X" * 255, "\u00e9" * 255, "\U0001f600" * 255, "x" * 254 + " "),
]
BY_NAME = Select("SELECT amount FROM kb_counter WHERE counter_name = :name")
ACTOR_KEY = ("system_name", "actor_type", "actor_key")
ALL = tuple(column.name for column in ACTOR.columns)


def actor(key: str, **values: object) -> tuple[object, ...]:
    """A row of kb_actor."""
    row: dict[str, object] = {
        "system_name": "here",
        "actor_type": "Account",
        "actor_key": key,
        "owner": None,
        "token": None,
        "epoch": 0,
        "revision": 0,
        "state": None,
        "state_revision": 0,
        "codec": "msgpack",
        "key_id": None,
        "schema_version": 1,
        "tags": None,
        "updated_at": 0.0,
    }
    return tuple((row | values).values())


class ValuesContract:
    """Values; a subclass has the fixture `place`."""

    async def test_keys_differ_by_case_accent_space_and_form(self, place: Place) -> None:
        rows = [("here", name, number) for number, name in enumerate(NAMES)]

        def change(session: Session) -> None:
            session.insert(COUNTER, COLUMNS, rows)
            assert 0 == session.insert(COUNTER, COLUMNS, rows, ignore=True)
            more = [(*row[:2], row[2] + 1000) for row in rows]
            assert len(rows) == session.update(COUNTER, KEY, ("amount",), more)

        async with place.store() as store:
            await store.change(change)
            for number, name in enumerate(NAMES):
                one = await store.read(
                    lambda session, name=name: session.lookup(  # type: ignore[misc]
                        COUNTER, ("counter_name", "amount"), KEY, [("here", name)]
                    )
                )
                assert [(name, number + 1000)] == one
                assert [(number + 1000,)] == await store.read(
                    lambda session, name=name: session.fetch(BY_NAME, name)  # type: ignore[misc]
                )

    async def test_keys_are_in_the_order_of_their_bytes(self, place: Place) -> None:
        query = Select("SELECT counter_name FROM kb_counter ORDER BY counter_name")
        async with place.store() as store:
            await store.change(
                lambda session: session.insert(COUNTER, COLUMNS, [("here", name, 0) for name in NAMES])
            )
            names = [name for (name,) in await store.read(lambda session: session.fetch(query))]

        assert sorted(NAMES, key=str.encode) == names

    async def test_deleting_a_key_leaves_those_that_only_look_like_it(self, place: Place) -> None:
        def change(session: Session) -> int:
            session.insert(COUNTER, COLUMNS, [("here", name, 0) for name in NAMES])
            return session.delete(COUNTER, KEY, [("here", "a"), ("here", "SS"), ("here", "")])

        async with place.store() as store:
            assert 3 == await store.change(change)

    @pytest.mark.parametrize(
        "state", [None, b"", b"\0", bytes(range(256)), b"'\\%s\xff", b"\xf0\x9f\x98\x80", b"x" * 1_000_000]
    )
    async def test_bytes_come_back_as_they_were(self, place: Place, state: bytes | None) -> None:
        def change(session: Session) -> list[tuple[object, ...]]:
            session.insert(ACTOR, ALL, [actor("a"), actor("b", state=state, token=b"\0token"), actor("c")])
            assert 1 == session.update(
                ACTOR, (*ACTOR_KEY, "token"), ("state",), [("here", "Account", "b", b"\0token", state)]
            )
            return session.lookup(ACTOR, ("state",), ACTOR_KEY, [("here", "Account", "b")])

        async with place.store() as store:
            assert [(state,)] == await store.change(change)

    async def test_null_comes_back_as_none_and_matches_nothing(self, place: Place) -> None:
        def change(session: Session) -> list[tuple[object, ...]]:
            session.insert(ACTOR, ALL, [actor("a", owner="me"), actor("b", tags="x"), actor("c", owner="")])
            session.update(ACTOR, ACTOR_KEY, ("owner", "tags"), [("here", "Account", "a", None, "y")])
            session.update(
                ACTOR,
                ACTOR_KEY,
                ("owner", "tags"),
                [("here", "Account", "b", "me", None), ("here", "Account", "c", None, None)],
            )
            assert [] == session.lookup(ACTOR, ("actor_key",), ("owner",), [(None,)])
            keys = [("here", "Account", key) for key in "abc"]
            return session.lookup(ACTOR, ("actor_key", "owner", "tags"), ACTOR_KEY, keys)

        async with place.store() as store:
            rows = await store.change(change)

        assert [("a", None, "y"), ("b", "me", None), ("c", None, None)] == sorted(
            rows, key=lambda row: str(row[0])
        )

    async def test_numbers_come_back_exactly(self, place: Place) -> None:
        reals = [0.0, -1.5, 0.1 + 0.2, 1e300, 5e-324, 1_764_190_000.123_456, -1.7976931348623157e308]
        whole = [0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)]

        def change(session: Session) -> list[tuple[object, ...]]:
            for row in [[actor(f"r{at}", updated_at=each) for at, each in enumerate(reals)]]:
                session.insert(ACTOR, ALL, row)
            session.upsert(ACTOR, ALL, [actor(f"w{at}", revision=each) for at, each in enumerate(whole)])
            return session.fetch(
                Select("SELECT actor_key, updated_at, revision FROM kb_actor ORDER BY actor_key")
            )

        async with place.store() as store:
            rows = await store.change(change)

        assert reals == [row[1] for row in rows[: len(reals)]]
        assert whole == [row[2] for row in rows[len(reals) :]]
        assert {float} == {type(row[1]) for row in rows}
        assert {int} == {type(row[2]) for row in rows}

    async def test_text_that_is_too_long_for_its_column_is_refused_and_not_cut(self, place: Place) -> None:
        if not place.strict:
            pytest.skip("SQLite keeps text of any length")
        async with place.store() as store:
            for rows in ([("here", "x" * 256, 1)], [("here", "b", 1), ("here", "x" * 256, 1)]):
                with pytest.raises(Exception, match=r"(?i)too long"):
                    await store.change(lambda session, rows=rows: session.insert(COUNTER, COLUMNS, rows))  # type: ignore[misc]
                with pytest.raises(Exception, match=r"(?i)too long"):
                    await store.change(
                        lambda session, rows=rows: session.insert(COUNTER, COLUMNS, rows, ignore=True)  # type: ignore[misc]
                    )
