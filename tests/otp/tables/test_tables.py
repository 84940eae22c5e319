"""Tables in memory: each operation, who may do it, and whose they are. Rule 75."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.otp.processes import inside
from tests.otp.tables.owners import Owner

import koboshi as kb
from koboshi import otp
from koboshi.otp.tables._sorted_keys import SortedKeys

KINDS: list[Any] = ["set", "ordered_set", "bag", "duplicate_bag"]


async def using(fn: Callable[[otp.Table], Any], *rows: Any, **options: Any) -> Any:
    """What `fn` makes of a table with these rows, in the process that owns it."""

    async def main() -> Any:
        table = otp.new_table(**options)
        table.insert(*rows)
        return fn(table)

    return await inside(main)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("set", [(1, "c")]),
        ("ordered_set", [(1, "c")]),
        ("bag", [(1, "a"), (1, "c")]),
        ("duplicate_bag", [(1, "a"), (1, "a"), (1, "c")]),
    ],
)
async def test_what_a_second_row_of_a_key_does_is_a_matter_of_kind(kind: Any, expected: Any) -> None:
    rows = [(1, "a"), (1, "a"), (1, "c")]

    assert expected == await using(lambda table: table.lookup(1), *rows, kind=kind)
    assert len(expected) == await using(len, *rows, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_several_rows_are_inserted_new_together_or_not_at_all(kind: Any) -> None:
    def work(table: otp.Table) -> Any:
        return (
            table.insert_new((2, "b"), (1, "x")),
            table.insert_new((2, "b"), (3, "c")),
            sorted(table.rows()),
        )

    assert (False, True, [(1, "a"), (2, "b"), (3, "c")]) == await using(work, (1, "a"), kind=kind)


async def test_rows_are_looked_up_taken_and_deleted() -> None:
    def work(table: otp.Table) -> Any:
        seen = [table.lookup(1), table.lookup(9), table.member(1), 9 in table, table.lookup_element(1, 1)]
        seen += [table.lookup_element(9, 1, "none"), table.take(1), table.lookup(1), table.take(1)]
        table.delete(2)
        table.delete(2)
        table.delete_object((3, "other"))
        table.delete_object((3, "c"))
        return seen, len(table)

    seen, left = await using(work, (1, "a"), (2, "b"), (3, "c"), (4, "d"))

    assert [[(1, "a")], [], True, False, "a", "none", [(1, "a")], [], []] == seen
    assert 1 == left


async def test_exactly_one_row_of_a_bag_is_deleted() -> None:
    rows = [(1, "a"), (1, "b"), (1, "a")]
    work: Callable[[otp.Table], Any] = lambda table: (table.delete_object((1, "a")), table.rows())  # noqa: E731

    assert (None, [(1, "b")]) == await using(work, *rows, kind="duplicate_bag")


async def test_counters_are_changed_in_one_step() -> None:
    def work(table: otp.Table) -> Any:
        return [
            table.update_counter("a"),
            table.update_counter("a", 5),
            table.update_counter("a", (2, -3)),
            table.update_counter("a", (1, 10, 12, 0)),
            table.update_counter("a", (2, -100, 0, 50)),
            table.update_counter("a", [(1, 1), (2, 1), (1, 1)]),
            table.update_counter("new", 3, ("new", 100, "x")),
            table.rows(),
        ]

    assert [2, 7, 7, 0, 50, [1, 51, 2], 103, [("a", 2, 51), ("new", 103, "x")]] == await using(
        work, ("a", 1, 10)
    )


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda table: table.update_counter("none"), KeyError),
        (lambda table: table.update_counter("a", (2, 1)), kb.UsageError),
        (lambda table: table.update_counter("a", (0, 1)), kb.UsageError),
        (lambda table: table.update_counter("a", (9, 1)), kb.UsageError),
        (lambda table: table.update_counter("b", 1, ("c", 1)), kb.UsageError),
        (lambda table: table.update_element("a", {0: "b"}), kb.UsageError),
        (lambda table: table.lookup_element("none", 1), KeyError),
        (lambda table: table.lookup_element("a", 7), kb.UsageError),
        (lambda table: table.insert(["a", 1]), kb.UsageError),
        (lambda table: table.insert(()), kb.UsageError),
        (lambda table: table.insert(([], 1)), kb.UsageError),
        (lambda table: table.lookup([]), kb.UsageError),
        (lambda table: table.match("a"), kb.UsageError),
        (lambda table: table.next("none"), KeyError),
        (lambda table: table.select_replace(("a", ..., ...), lambda row: ("b",)), kb.UsageError),
        (lambda table: pickle.dumps(table), kb.UsageError),
    ],
)
async def test_what_cannot_be_raises_and_changes_nothing(work: Any, error: type[Exception]) -> None:
    def guarded(table: otp.Table) -> Any:
        with pytest.raises(error):
            work(table)
        return table.rows()

    assert [("a", 1, "text")] == await using(guarded, ("a", 1, "text"))


async def test_bags_have_no_counters_and_no_single_elements() -> None:
    for work in (
        lambda table: table.update_counter("a"),
        lambda table: table.update_element("a", {1: 2}),
        lambda table: table.select_replace(("a", ...), lambda row: row),
    ):

        def guarded(table: otp.Table, work: Any = work) -> None:
            with pytest.raises(kb.UsageError, match="one row for each key"):
                work(table)

        await using(guarded, ("a", 1), kind="bag")


async def test_rows_are_matched_selected_replaced_and_folded() -> None:
    people = [("ada", 36, "admin"), ("bob", 17, "guest"), ("eve", 40, "guest")]

    def work(table: otp.Table) -> list[Any]:
        return [
            table.match((..., ..., "guest")),
            table.match(("ada", ..., ...)),
            table.match(("ada", 1, ...)),
            table.match((..., ...)),
            table.select(lambda row: row[1] > 20),
            table.select_count((..., ..., "guest")),
            table.update_element("bob", {1: 18, 2: "member"}),
            table.update_element("none", {1: 18}),
            table.select_replace((..., ..., "guest"), lambda row: (row[0], row[1] + 1, row[2])),
            table.select_delete(lambda row: row[0] == "ada"),
            table.rows(),
            table.fold(lambda total, row: total + row[1], 0),
            table.delete_all(),
            len(table),
        ]

    assert [
        people[1:],
        people[:1],
        [],
        [],
        [people[0], people[2]],
        2,
        True,
        False,
        1,
        1,
        [("bob", 18, "member"), ("eve", 41, "guest")],
        59,
        2,
        0,
    ] == await using(work, *people)


async def test_the_key_may_be_at_another_position() -> None:
    def work(table: otp.Table) -> Any:
        return table.lookup("a"), table.update_counter("a", (0, 1)), table.match((..., "a"))

    assert ([(1, "a")], 2, [(2, "a")]) == await using(work, (1, "a"), key=1)


async def test_an_ordered_set_is_gone_through_in_order_whatever_is_deleted_meanwhile() -> None:
    def work(table: otp.Table) -> Any:
        seen = []
        for key in table.keys():  # noqa: SIM118, a method that outlives changes
            seen.append(key)
            table.delete(key)
            if key == 3:
                table.insert((4, "inserted behind"))
                table.delete(5)
        return seen, table.first(), table.last()

    rows = [(n, n) for n in (5, 1, 3, 7)]
    assert ([1, 3, 4, 7], None, None) == await using(work, *rows, kind="ordered_set")

    def steps(t: otp.Table) -> Any:
        return t.first(), t.last(), t.next(3), t.prev(3), t.next(7), t.next(4), t.prev(1)

    assert (1, 7, 5, 1, None, 5, None) == await using(steps, *rows, kind="ordered_set")


@pytest.mark.parametrize("kind", ["set", "bag"])
async def test_any_table_is_gone_through_whatever_is_deleted_meanwhile(kind: Any) -> None:
    def work(table: otp.Table) -> Any:
        seen = []
        for key in table.keys():  # noqa: SIM118, a method that outlives changes
            seen.append(key)
            table.delete(key)
            table.delete(3)
        return seen

    assert [1, 2, 4] == await using(work, *[(n, n) for n in (1, 2, 3, 4)], kind=kind)


async def test_keys_that_do_not_compare_are_refused_by_an_ordered_set_and_equal_ones_are_one() -> None:
    def work(table: otp.Table) -> Any:
        with pytest.raises(kb.UsageError, match="must compare"):
            table.insert(("text", 1))
        table.insert((1.0, "float"))
        return table.rows()

    assert [(1.0, "float")] == await using(work, (1, "int"), kind="ordered_set")
    assert [(1.0, "float")] == await using(lambda t: (t.insert((1.0, "float")), t.rows())[1], (1, "int"))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2000)), max_size=3000))
def test_sorted_keys_are_as_a_sorted_list(steps: list[tuple[bool, int]]) -> None:
    keys, model = SortedKeys(), set[int]()
    for number, (add, key) in enumerate(itertools.chain(steps, ((True, n) for n in range(0, 1500, 2)))):
        if add and key not in model:
            keys.add(key)
            model.add(key)
        elif not add and key in model:
            keys.remove(key)
            model.discard(key)
        if number % 50 == 0 and model:
            after = [each for each in model if each > key]
            before = [each for each in model if each < key]
            assert (min(model), max(model)) == (keys.first(), keys.last())
            assert not after or min(after) == keys.after(key)
            assert not before or max(before) == keys.before(key)

    assert sorted(model) == list(keys)


# -- whose a table is --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "reads", "writes"),
    [("private", False, False), ("protected", True, False), ("public", True, True)],
)
async def test_access_is_as_the_table_says(access: Any, reads: bool, writes: bool) -> None:
    owner = await kb.start(Owner, access=access)
    await owner.call(Owner.do, "insert", ("a", 1))

    async def stranger() -> tuple[bool, bool]:
        table, may = otp.table("t"), []
        for work in (lambda: table.lookup("a"), lambda: table.update_counter("a")):
            try:
                work()
                may.append(True)
            except otp.AccessDenied:
                may.append(False)
        return may[0], may[1]

    assert (reads, writes) == await inside(stranger)
    assert (reads, writes) == await stranger()
    await owner.stop()


async def test_a_table_is_gone_before_anybody_hears_of_its_owners_end() -> None:
    for _ in range(50):
        owner = await kb.start(Owner, access="public")
        table = otp.table("t")
        owner.kill()
        await owner.wait_exit()

        with pytest.raises(otp.NoTable):
            otp.table("t")
        with pytest.raises(otp.NoTable):
            table.lookup("a")


async def test_a_name_is_one_tables_and_can_be_changed_by_its_owner() -> None:
    owner = await kb.start(Owner)
    with pytest.raises(kb.StartError) as refused:
        await kb.start(Owner)
    assert isinstance(refused.value.__cause__, otp.TableExists)
    await owner.call(Owner.do, "rename", "u")
    other = await kb.start(Owner)
    assert "u" == otp.table("u").info().name
    with pytest.raises(kb.ActorExited) as crash:
        await owner.call(Owner.do, "rename", "t")
    assert isinstance(crash.value.__cause__, otp.TableExists)
    with pytest.raises(otp.NoTable):
        otp.table("u")
    await other.stop()


async def test_an_heir_is_given_the_table_when_its_owner_ends() -> None:
    heir = await kb.start(Owner, None)
    owner = await kb.start(Owner, heir=heir, heir_data="yours now")
    await owner.call(Owner.do, "insert", ("a", 1))
    assert heir == otp.table("t").info().heir
    owner.kill()
    await owner.wait_exit()

    assert heir == otp.table("t").info().owner
    assert [("t", owner, "yours now")] == await heir.call(Owner.transfers)
    await heir.call(Owner.do, "insert", ("b", 2))
    assert [("a", 1), ("b", 2)] == otp.table("t").rows()
    await heir.stop()
    with pytest.raises(otp.NoTable):
        otp.table("t")


async def test_a_dead_heir_inherits_nothing() -> None:
    heir = await kb.start(Owner, None)
    owner = await kb.start(Owner, heir=heir)
    await heir.stop()
    await owner.stop()

    with pytest.raises(otp.NoTable):
        otp.table("t")


async def test_a_table_is_given_away_by_its_owner_alone() -> None:
    owner, other = await kb.start(Owner), await kb.start(Owner, None)
    with pytest.raises(otp.AccessDenied):
        otp.table("t").give_away(other)
    await owner.call(Owner.do, "give_away", other, "a present")

    assert other == otp.table("t").info().owner
    assert [("t", owner, "a present")] == await other.call(Owner.transfers)
    await owner.stop()
    assert [] == otp.table("t").rows()
    await other.stop()


async def test_a_deleted_table_is_no_more() -> None:
    owner = await kb.start(Owner, access="public")
    with pytest.raises(otp.AccessDenied):
        otp.table("t").drop()
    await owner.call(Owner.do, "drop")

    with pytest.raises(otp.NoTable):
        otp.table("t")
    await owner.stop()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "list"}, "kind is one of"),
        ({"access": "open"}, "access is one of"),
        ({"key": -1}, "key takes a whole number"),
        ({"name": []}, "can be hashed"),
    ],
)
async def test_bad_options_are_refused_by_name(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(kb.ActorExited, match=expected):
        await using(len, **options)
    with pytest.raises(kb.NotInProcess, match="new_table"):
        otp.new_table()


async def test_a_table_owner_keeps_tables_through_the_crashes_of_their_users() -> None:
    spec = kb.child(otp.TableOwner, {"sessions": {"access": "public"}, "log": {"kind": "bag"}})
    async with kb.Supervisor(spec) as tree:
        owner = tree.ref(otp.TableOwner, "TableOwner")

        async def user() -> None:
            otp.table("sessions").insert(("ada", 1))
            raise ValueError("crash")

        await kb.spawn(user).wait_exit()

        assert [("ada", 1)] == otp.table("sessions").rows()
        assert otp.table("log").anywhere == await owner.call(otp.TableOwner.handle, "log")
        with pytest.raises(otp.NoTable, match="'sessions', 'log'"):
            await owner.call(otp.TableOwner.handle, "none")


# -- from other nodes --------------------------------------------------------------------------------------


def old(row: tuple[Any, ...]) -> bool:
    return bool(row[1] > 30)


async def test_a_handle_is_the_same_table_on_its_own_loop() -> None:
    owner = await kb.start(Owner, access="public")
    handle = otp.table("t").anywhere
    await handle.insert(("a", 1), ("b", 2))

    assert ([("a", 1)], 2, 3, True) == (
        await handle.lookup("a"),
        await handle.size(),
        await handle.update_counter("b"),
        await handle.member("a"),
    )
    assert handle == await owner.call(Owner.handle)
    await owner.stop()
    with pytest.raises(otp.NoTable):
        await handle.lookup("a")


@pytest.mark.slow
async def test_a_table_is_reached_from_every_node_under_its_own_access() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    owners = [
        kb.child(Owner, access="public").options(id="public", on="n1", restart="temporary"),
        kb.child(Owner, "p").options(id="protected", on="n1"),
        kb.child(Owner, None).options(id="user", on="n2"),
    ]
    async with kb.Supervisor(nodes, *owners) as tree:
        public, protected, user = (tree.ref(Owner, name) for name in ("public", "protected", "user"))
        handle = await public.call(Owner.handle)
        await handle.insert(("ada", 36), ("bob", 17))

        assert [("ada", 36)] == await user.call(Owner.through, handle, "lookup", "ada")
        assert 18 == await user.call(Owner.through, handle, "update_counter", "bob")
        assert [("ada", 36)] == await handle.select(old)
        assert [("bob", 18)] == await handle.match(("bob", ...))
        assert ("ada", "bob", None) == (
            await handle.first(),
            await handle.next("ada"),
            await handle.next("bob"),
        )
        other = await protected.call(Owner.handle)
        assert otp.AccessDenied is await user.call(Owner.through, other, "insert", ("x", 1))
        assert [] == await user.call(Owner.through, other, "rows")
        with pytest.raises(KeyError):
            await handle.update_counter("none")
        public.kill()
        await public.wait_exit()
        assert otp.NoTable is await user.call(Owner.through, handle, "rows")
