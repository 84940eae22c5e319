"""Handles: the same operations at home and from another node, and what a lost node takes with it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.otp.tables import remote
from tests.otp.tables.conftest import Make
from tests.otp.tables.remote import User
from tests.otp.tables.rig import Owner, owned

import koboshi as kb
from koboshi import otp
from koboshi.otp.tables._serving import READS, WRITES

# Operation, arguments, answer: one after the other on one ordered_set.
SCRIPT: list[tuple[str, tuple[Any, ...], Any]] = [
    ("insert", (("a", 1), ("b", 2)), None),
    ("insert_new", (("a", 9),), False),
    ("insert_new", (("c", 3), ("d", 4)), True),
    ("lookup", ("a",), [("a", 1)]),
    ("lookup_element", ("b", 1), 2),
    ("lookup_element", ("z", 1, "none"), "none"),
    ("member", ("z",), False),
    ("match", ((otp.Var("k"), 2),), [("b",)]),
    ("select", (), [("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
    ("select", (remote.is_even, remote.second), [2, 4]),
    ("select_count", (remote.is_even,), 2),
    ("rows", (), [("a", 1), ("b", 2), ("c", 3), ("d", 4)]),
    ("keys", (), ["a", "b", "c", "d"]),
    ("size", (), 4),
    ("range", ("b", "d"), [("b", 2), ("c", 3)]),
    ("foldl", (remote.add, 0), 10),
    ("foldr", (remote.add, 1), 11),
    ("first", (), "a"),
    ("last", (), "d"),
    ("next", ("a",), "b"),
    ("next", ("d", "end"), "end"),
    ("prev", ("b",), "a"),
    ("update_counter", ("a",), 2),
    ("update_counter", ("a", [(1, 1), (1, 1)]), [3, 4]),
    ("update_element", ("a", (1, 6)), True),
    ("select_replace", (remote.is_even, remote.doubled), 3),
    ("take", ("a",), [("a", 12)]),
    ("delete", ("b",), True),
    ("delete_object", (("c", 3),), 1),
    ("select_delete", (("d", otp.ANY),), 1),
    ("delete_all", (), None),
    ("sync", (), None),
    ("rename", ("other",), None),
    ("drop", (), None),
]


def test_the_script_has_every_operation_that_may_be_asked_for_from_elsewhere() -> None:
    asked = {operation for operation, _, _ in SCRIPT}

    assert READS | WRITES == asked - {"size"} | {"__len__", "info", "statistics"}
    assert asked <= set(dir(otp.TableHandle))


async def test_a_handle_at_home_does_what_the_table_does(public: Make) -> None:
    table = await public(kind="ordered_set")
    for operation, args, answer in SCRIPT:
        assert answer == await getattr(table.handle, operation)(*args), operation

    assert not table.exists


async def test_a_handle_at_home_has_the_rights_of_the_process_that_uses_it() -> None:
    table, owner = await owned(access="private")
    handle = table.handle

    with pytest.raises(otp.AccessDenied):
        await handle.rows()
    await owner.call(Owner.run, handle.insert, (1, 2))
    assert [(1, 2)] == await owner.call(Owner.run, handle.rows)
    await owner.stop()
    with pytest.raises(otp.NoSuchTable):
        await handle.rows()
    with pytest.raises(otp.NoSuchTable):
        _ = table.handle


async def test_handles_on_one_table_are_equal(public: Make) -> None:
    one, two = await public("one"), await public("two")

    assert one.handle == one.handle
    assert one.handle != two.handle
    assert 1 == len({one.handle, one.handle})
    assert one.handle.local is one
    assert repr(one.handle).startswith(f"<TableHandle {one.number} of <ActorRef TableServer#")


# --- from another node ------------------------------------------------------------


@dataclass
class World:
    """A tree with users of tables in the root and on the nodes n1 and n2, and a `TableOwner` named tables."""

    tree: kb.Supervisor
    home: kb.ActorRef[User]
    one: kb.ActorRef[User]
    two: kb.ActorRef[User]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    specs = (
        otp.TableSpec("hits"),
        otp.TableSpec("read", access="protected"),
        otp.TableSpec("mine", access="private"),
    )
    owner = kb.child(otp.TableOwner, *specs).options(id="tables", name="tables")
    async with kb.Supervisor(owner, kb.node("n1"), kb.node("n2"), max_restarts=1000) as tree:
        users = [
            await tree.start_child(kb.child(User).options(id=name, on=on, restart="temporary"))
            for name, on in (("home", None), ("one", "n1"), ("two", "n2"))
        ]
        yield World(tree, *users)


@pytest.mark.slow
async def test_from_another_node_a_handle_does_what_the_table_does(world: World) -> None:
    handle = await world.home.call(User.make, kind="ordered_set", access="public")  # type: ignore[var-annotated]
    for operation, args, answer in SCRIPT:
        assert answer == await world.one.call(User.do, handle, operation, *args), operation

    with pytest.raises(otp.NoSuchTable):
        await world.one.call(User.do, handle, "rows")


@pytest.mark.slow
async def test_a_table_on_one_node_is_used_from_another_and_goes_with_its_node(world: World) -> None:
    handle = await world.one.call(User.make, access="public")  # type: ignore[var-annotated]
    await world.two.call(User.do, handle, "insert", ("a", 1))

    assert [("a", 1)] == await handle.rows()
    assert handle.local is None
    assert (True, False) == (
        await world.one.call(User.is_local, handle),
        await world.two.call(User.is_local, handle),
    )
    os.kill(await world.one.call(User.pid), signal.SIGKILL)
    await world.one.wait_exit()
    with pytest.raises(kb.ActorExited) as raised:
        await world.two.call(User.do, handle, "rows")
    assert isinstance(raised.value.reason, kb.NoConnection)


@pytest.mark.slow
async def test_a_table_elsewhere_goes_with_its_owner_and_the_handle_says_so(world: World) -> None:
    handle = await world.one.call(User.make, access="public")  # type: ignore[var-annotated]
    world.one.kill()
    await world.one.wait_exit()

    with pytest.raises(otp.NoSuchTable):
        await handle.rows()


@pytest.mark.slow
async def test_from_another_node_everybody_is_a_stranger(world: World) -> None:
    handle = await world.one.call(User.make)  # type: ignore[var-annotated]
    await world.one.call(User.insert, ("a", 1))

    assert [("a", 1)] == await handle.rows()
    with pytest.raises(otp.AccessDenied, match="only its owner writes"):
        await handle.insert(("b", 2))
    read = otp.table("tables", "read")
    with pytest.raises(otp.AccessDenied, match="only its owner writes"):
        await world.one.call(User.do, read, "insert", ("b", 2))
    mine = otp.table("tables", "mine")
    for operation in ("rows", "delete_all"):
        with pytest.raises(otp.AccessDenied, match="private"):
            await world.one.call(User.do, mine, operation)
    assert "private" == (await world.one.call(User.do, mine, "info")).access


@pytest.mark.slow
async def test_a_function_that_fails_elsewhere_fails_its_caller_and_nobody_else(world: World) -> None:
    hits = otp.table("tables", "hits")
    await hits.insert(("a", 1))
    owner = kb.whereis("tables")
    with pytest.raises(ZeroDivisionError):
        await world.one.call(User.do, hits, "select", remote.fails)
    with pytest.raises(kb.UsageError):
        await world.one.call(User.do, hits, "insert", "no row")
    with pytest.raises(kb.UsageError, match="no operation"):
        await world.one.call(User.do, hits, "_do", "give_away")

    assert owner == kb.whereis("tables")
    assert [("a", 1)] == await world.one.call(User.do, hits, "rows")


@pytest.mark.slow
async def test_tables_of_an_owner_are_found_by_its_name_on_every_node(world: World) -> None:
    for user in (world.home, world.one, world.two):
        handle = await user.call(User.find, "tables", "hits")
        await user.call(User.do, handle, "update_counter", "n", 1, ("n", 0))

    assert 3 == await otp.table("tables", "hits").lookup_element("n", 1)


@pytest.mark.slow
async def test_heirs_and_new_owners_are_processes_of_the_tables_own_loop(world: World) -> None:
    owner = await kb.start(Owner)
    table, _ = await owned(by=owner)
    with pytest.raises(kb.UsageError, match="elsewhere"):
        await owner.call(Owner.run, table.give_away, world.one)
    with pytest.raises(kb.UsageError, match="elsewhere"):
        await owner.call(Owner.run, table.set_heir, world.one)
    await owner.stop()


# --- TableOwner ------------------------------------------------------------


async def test_a_table_of_an_owner_outlives_its_users() -> None:
    async with kb.Supervisor(
        kb.child(otp.TableOwner, otp.TableSpec("hits")).options(id="tables", name="tables"),
        kb.child(User).options(id="user"),
    ) as tree:
        user, hits = tree.ref(User, "user"), otp.table("tables", "hits")
        assert 1 == await user.call(User.do, hits, "update_counter", "n", 1, ("n", 0))
        with pytest.raises(kb.ActorExited):
            await user.call(User.crash)
        await tree.wait_ready()

        assert 2 == await user.call(User.do, hits, "update_counter", "n")


async def test_a_handle_by_the_owners_ref_finds_the_table_after_a_restart_of_the_owner() -> None:
    async with kb.Supervisor(kb.child(otp.TableOwner, otp.TableSpec("hits")).options(id="tables")) as tree:
        ref = tree.ref(otp.TableOwner, "tables")
        hits = otp.table(ref, "hits")
        await hits.insert(("a", 1))
        ref.kill()
        await ref.wait_exit()
        await tree.wait_ready()

        assert [] == await hits.rows()
        await tree.terminate_child("tables")
        with pytest.raises(kb.NotRunning):
            await hits.rows()


async def test_a_lent_table_belongs_to_the_borrower_and_comes_back_at_its_end() -> None:
    async with kb.Supervisor(
        kb.child(otp.TableOwner, otp.TableSpec("hits", access="protected")).options(id="t")
    ) as tree:
        ref = tree.ref(otp.TableOwner, "t")
        for n in range(3):
            borrower = await kb.start(Owner)
            await ref.call(otp.TableOwner.lend, "hits", borrower)
            (transfer,) = await borrower.call(Owner.transfers)
            assert n == len(transfer.table)
            await borrower.call(Owner.run, transfer.table.insert, (n, "x"))
            with pytest.raises(otp.AccessDenied):
                await ref.call(otp.TableOwner.lend, "hits", borrower)
            assert otp.TableOwnerStatistics(tables=1, rows=n + 1, lent=1) == await ref.call(
                otp.TableOwner.statistics
            )
            borrower.kill()
            await borrower.wait_exit()

        assert otp.TableOwnerStatistics(tables=1, rows=3, lent=0) == await ref.call(otp.TableOwner.statistics)
        assert 3 == await otp.table(ref, "hits").size()


async def test_an_owner_makes_and_drops_tables_and_refuses_without_a_crash() -> None:
    async with kb.Supervisor(kb.child(otp.TableOwner).options(id="tables", name="tables")) as tree:
        ref = tree.ref(otp.TableOwner, "tables")
        before = kb.whereis("tables")
        handle = await ref.call(otp.TableOwner.create, otp.TableSpec("hits"))
        await handle.insert(("a", 1))

        assert ["hits"] == await ref.call(otp.TableOwner.names)
        with pytest.raises(otp.TableNameTaken):
            await ref.call(otp.TableOwner.create, otp.TableSpec("hits"))
        with pytest.raises(kb.UsageError):
            await ref.call(otp.TableOwner.create, "hits")  # type: ignore[arg-type]
        await ref.call(otp.TableOwner.drop, "hits")
        with pytest.raises(otp.NoSuchTable):
            await ref.call(otp.TableOwner.drop, "hits")
        with pytest.raises(otp.NoSuchTable):
            await handle.rows()
        with pytest.raises(kb.ActorExited):
            dead = await kb.start(Owner)
            await dead.stop()
            await ref.call(otp.TableOwner.create, otp.TableSpec("b"))
            await ref.call(otp.TableOwner.lend, "b", dead)
        assert before == kb.whereis("tables")


async def test_an_owner_takes_in_what_is_given_to_it() -> None:
    async with kb.Supervisor(kb.child(otp.TableOwner).options(id="tables")) as tree:
        ref = tree.ref(otp.TableOwner, "tables")
        table, giver = await owned(name="gift", access="public")
        await giver.call(Owner.run, table.give_away, ref)
        await giver.stop()
        await otp.table(ref, "gift").insert((1, 2))

        assert [(1, 2)] == table.rows()


@pytest.mark.parametrize("bad", [("hits",), (otp.TableSpec("a"), otp.TableSpec("a"))])
async def test_what_is_no_spec_or_there_twice_is_refused(bad: Any) -> None:
    with pytest.raises(kb.StartError) as raised:
        await kb.start(otp.TableOwner, *bad)
    assert isinstance(raised.value.__cause__, kb.UsageError)


@pytest.mark.parametrize(
    "options", [{"kind": "x"}, {"access": 1}, {"key": -1}, {"auto_save": -1}, {"named": 1}]
)
def test_a_spec_is_checked_when_it_is_made(options: Any) -> None:
    with pytest.raises(kb.UsageError, match=next(iter(options))):
        otp.TableSpec("hits", **options)


async def test_a_handle_is_made_of_a_table_owner_only() -> None:
    user = await kb.start(User)
    with pytest.raises(kb.UsageError, match=r"otp\.TableOwner"):
        otp.table(user, "hits")  # type: ignore[arg-type]
    await user.stop()
    with pytest.raises(kb.NotRunning):
        await otp.table("nobody", "hits").rows()


@pytest.mark.slow
async def test_an_owner_on_a_node_keeps_its_disk_table_through_the_loss_of_the_node(tmp_path: Any) -> None:
    spec = otp.TableSpec("hits", path=tmp_path / "hits", auto_save=None)
    owner = kb.child(otp.TableOwner, spec).options(id="tables", on="n1")
    async with kb.Supervisor(
        kb.node("n1"), owner, kb.child(User).options(id="u", on="n1"), max_restarts=1000
    ) as tree:
        hits = otp.table(tree.ref(otp.TableOwner, "tables"), "hits")
        user = tree.ref(User, "u")
        for n in range(1, 4):
            assert n == await hits.update_counter("n", 1, ("n", 0))
            await hits.sync()
            old = kb.info(tree.ref(otp.TableOwner, "tables")).ref
            os.kill(await user.call(User.pid), signal.SIGKILL)
            await old.wait_exit()
            await tree.wait_ready()

        assert 3 == await hits.lookup_element("n", 1)


async def test_a_request_to_an_owner_that_is_still_opening_its_tables_waits_for_them(tmp_path: Any) -> None:
    starting = asyncio.ensure_future(kb.start(otp.TableOwner, otp.TableSpec("hits", path=tmp_path / "hits")))
    await asyncio.sleep(0)
    (owner,) = (each.ref for each in kb.processes() if each.label.startswith("TableOwner"))
    handle = otp.table(owner, "hits")

    assert handle.local is None
    assert 1 == await handle.update_counter("n", 1, ("n", 0))
    assert owner == await starting
    assert handle.local is not None
    await owner.stop()


async def test_a_gift_whose_name_is_taken_is_reported_and_dropped() -> None:
    async with kb.Supervisor(kb.child(otp.TableOwner, otp.TableSpec("hits")).options(id="tables")) as tree:
        ref = tree.ref(otp.TableOwner, "tables")
        events: list[Any] = []
        stop = kb.listen(events.append)
        table, giver = await owned(name="hits", access="public")
        await giver.call(Owner.run, table.give_away, ref)
        await giver.stop()
        await ref.call(otp.TableOwner.names)
        stop()

        assert not table.exists
        assert 1 == sum(isinstance(each, kb.events.Unhandled) for each in events)
        assert [] == await otp.table(ref, "hits").rows()
