"""Whose a table is, who may use it, and what becomes of it when its owner ends."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.otp.tables.conftest import Make
from tests.otp.tables.rig import Owner, owned

import koboshi as kb
from koboshi import otp

READS = [
    ("lookup", 1),
    ("rows",),
    ("match", (otp.ANY, 1)),
    ("first",),
    ("select",),
    ("__len__",),
    ("member", 1),
]
WRITES = [
    ("insert", (1, 2)),
    ("insert_new", (1, 2)),
    ("delete", 1),
    ("take", 1),
    ("delete_object", (1, 2)),
    ("delete_all",),
    ("select_delete",),
    ("select_replace", None, lambda row: row),
    ("update_counter", 1),
    ("update_element", 1, (1, 2)),
    ("rename", "x"),
    ("drop",),
]


async def test_the_default_is_protected_others_read_and_only_the_owner_writes() -> None:
    table, owner = await owned()
    await owner.call(Owner.run, table.insert, (1, 2))

    assert "protected" == table.info().access
    assert [(1, 2)] == table.rows()
    for operation, *args in WRITES:
        with pytest.raises(otp.AccessDenied, match="only its owner writes") as raised:
            getattr(table, operation)(*args)  # type: ignore[call-overload]
        assert (operation, "protected") == (raised.value.operation, raised.value.access)
    assert [(1, 2)] == table.rows()
    await owner.stop()


async def test_a_private_table_is_read_by_its_owner_only() -> None:
    table, owner = await owned(access="private")
    await owner.call(Owner.run, table.insert, (1, 2))

    assert [(1, 2)] == await owner.call(Owner.run, table.rows)
    for operation, *args in READS + WRITES:
        with pytest.raises(otp.AccessDenied, match="only its owner may use it"):
            getattr(table, operation)(*args)  # type: ignore[call-overload]
    assert 1 == table.info().rows
    await owner.stop()


async def test_another_actor_is_named_when_it_is_refused() -> None:
    table, owner = await owned()
    other = await kb.start(Owner)

    with pytest.raises(
        otp.AccessDenied, match=rf"Owner#\d+ was refused.*message to its owner {table.owner_label}"
    ):
        await other.call(Owner.run, table.insert, (1, 2))
    assert other.alive
    await owner.stop()
    await other.stop()


async def test_only_a_process_can_own_a_table() -> None:
    with pytest.raises(kb.NotInProcess):
        otp.Table("rows")
    with pytest.raises(kb.NotInProcess):
        await otp.DiskTable.open("rows")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "list"}, "kind"),
        ({"access": "open"}, "access"),
        ({"kind": ["set"]}, "kind"),
        ({"key": -1}, "key"),
        ({"key": True}, "key"),
        ({"key": "k"}, "key"),
        ({"named": "yes"}, "named"),
        ({"name": []}, "name"),
        ({"heir": "me"}, "heir"),
    ],
)
async def test_an_option_that_is_none_is_refused_by_name_and_leaves_no_table(
    options: Any, named: str
) -> None:
    owner = await kb.start(Owner)
    with pytest.raises(kb.UsageError, match=named):
        await owned(by=owner, **options)

    assert [] == otp.all_tables()
    await owner.stop()


class Watcher(kb.Actor):
    """Makes a table of the same name at the moment when it hears of an owner's end."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.heard = asyncio.Event()
        self.trap_exits()

    @kb.message
    def watch(self, ref: kb.ActorRef[Any]) -> None:
        kb.link(ref)
        kb.monitor(ref)

    def on_exit(self, exit: kb.Exit) -> None:
        self.seen.append(("exit", self.state_of_the_name()))

    def on_down(self, down: kb.Down) -> None:
        self.seen.append(("down", self.state_of_the_name()))
        otp.Table("rows", named=True)
        self.heard.set()

    def state_of_the_name(self) -> Any:
        try:
            return otp.named_table("rows")
        except otp.NoSuchTable:
            return None


@pytest.mark.parametrize("how", [kb.Kill(), kb.Shutdown(), kb.Exited("boom")])
async def test_a_table_is_gone_before_the_exit_of_its_owner_is_seen(how: kb.ExitReason) -> None:
    table, owner = await owned(named=True)
    watcher = await kb.start(Watcher)
    await watcher.call(Watcher.watch, owner)
    state = watcher._target().actor

    owner.exit(how)
    await state.heard.wait()

    assert [("exit", None), ("down", None)] == state.seen
    assert not table.exists
    with pytest.raises(otp.NoSuchTable, match="'rows'"):
        table.rows()
    with pytest.raises(otp.NoSuchTable):
        table.insert((1, 2))
    await watcher.stop()
    assert [] == otp.all_tables()


async def test_a_start_that_fails_leaves_no_table() -> None:
    def fails() -> None:
        otp.Table("rows", named=True)
        raise ValueError("no")

    with pytest.raises(kb.StartError):
        await kb.start(Owner, fails)
    assert [] == otp.all_tables()


async def test_a_table_goes_to_its_heir_with_its_rows_and_a_message() -> None:
    heir = await kb.start(Owner)
    table, owner = await owned(heir=heir, heir_data={"why": "crash"}, named=True)
    await owner.call(Owner.run, table.insert, (1, 2))
    owner.kill()
    await owner.wait_exit()

    assert [otp.TableTransfer(table, owner, {"why": "crash"})] == await heir.call(Owner.transfers)
    assert heir == table.owner
    assert otp.named_table("rows") is table
    await heir.call(Owner.run, table.insert, (3, 4))
    assert [(1, 2), (3, 4)] == table.rows()
    await heir.stop()
    assert not table.exists


async def test_the_message_of_an_inheritance_comes_before_the_down_of_the_owner() -> None:
    class Heir(Owner):
        @kb.message
        def watch(self, ref: kb.ActorRef[Any]) -> None:
            kb.monitor(ref)

    heir = await kb.start(Heir)
    table, owner = await owned(heir=heir)
    await heir.call(Heir.watch, owner)
    owner.kill()
    await owner.wait_exit()

    assert [otp.TableTransfer, kb.Down] == [type(each) for each in await heir.call(Owner.transfers)]
    assert table.exists
    await heir.stop()


async def test_a_dead_heir_inherits_nothing() -> None:
    heir = await kb.start(Owner)
    table, owner = await owned(heir=heir)
    await heir.stop()
    await owner.stop()

    assert not table.exists


async def test_an_heir_can_be_changed_and_taken_back() -> None:
    heir = await kb.start(Owner)
    table, owner = await owned(heir=heir)
    with pytest.raises(otp.AccessDenied, match="from its owner only"):
        table.set_heir(None)
    await owner.call(Owner.run, table.set_heir, None)
    await owner.stop()

    assert not table.exists
    assert [] == await heir.call(Owner.transfers)
    await heir.stop()


async def test_a_table_that_is_given_away_belongs_to_its_new_owner_alone() -> None:
    taker = await kb.start(Owner)
    table, owner = await owned(access="private")
    await owner.call(Owner.run, table.insert, (1, 2))
    await owner.call(Owner.run, table.give_away, taker, "yours")

    assert [otp.TableTransfer(table, owner, "yours")] == await taker.call(Owner.transfers)
    with pytest.raises(otp.AccessDenied):
        await owner.call(Owner.run, table.rows)
    await owner.stop()
    assert [(1, 2)] == await taker.call(Owner.run, table.rows)
    await taker.stop()
    assert not table.exists


async def test_giving_away_is_refused_to_strangers_to_the_dead_and_to_oneself() -> None:
    dead = await kb.start(Owner)
    await dead.stop()
    table, owner = await owned(access="public")

    with pytest.raises(otp.AccessDenied):
        table.give_away(dead)
    with pytest.raises(kb.ActorExited):
        await owner.call(Owner.run, table.give_away, dead)
    with pytest.raises(kb.UsageError, match="already"):
        await owner.call(Owner.run, table.give_away, owner)
    with pytest.raises(kb.UsageError, match="ref of a process"):
        await owner.call(Owner.run, table.give_away, "x")
    assert owner == table.owner
    await owner.stop()


async def test_named_tables_are_found_renamed_and_unique(public: Make) -> None:
    one = await public("one", named=True)
    other = await public("other", named=True)
    plain = await public("one")

    assert otp.named_table("one") is one
    assert [one, other, plain] == otp.all_tables()
    with pytest.raises(otp.TableNameTaken) as raised:
        await public("one", named=True)
    assert ("one", one.owner_label) == (raised.value.name, raised.value.owner)
    with pytest.raises(otp.TableNameTaken):
        one.rename("other")
    one.rename("uno")
    assert otp.named_table("uno") is one
    with pytest.raises(otp.NoSuchTable):
        otp.named_table("one")
    one.drop()
    assert [other, plain] == otp.all_tables()
    with pytest.raises(otp.NoSuchTable):
        otp.named_table("uno")


async def test_a_table_says_what_it_is(public: Make) -> None:
    table = await public("hits", kind="bag", key=1, named=True)
    table.insert((1, "a"), (2, "a"))
    info = table.info()

    assert ("hits", "bag", "public", 1, True, 2) == (
        *(info.name, info.kind, info.access, info.key, info.named, info.rows),
    )
    assert (table.owner, None) == (info.owner, info.heir)
    assert otp.TableStatistics(rows=2, keys=1, fixed=0) == table.statistics()
    assert f"<Table 'hits' bag public, 2 rows, of {table.owner_label}>" == repr(table)
    table.drop()
    assert "<Table 'hits' gone>" == repr(table)


async def test_a_table_does_not_travel_and_says_what_does(public: Make) -> None:
    table = await public()
    with pytest.raises(kb.UsageError, match=r"table\.handle"):
        pickle.dumps(table)


async def test_another_thread_is_refused(public: Make) -> None:
    table = await public()
    for operation, *args in (("rows",), ("insert", (1, 2))):
        with pytest.raises(kb.WrongThread):
            await asyncio.to_thread(getattr(table, operation), *args)


async def test_a_table_that_is_gone_keeps_no_rows_alive(public: Make) -> None:
    table = await public()
    table.insert((1, 2))
    table.drop()

    assert 0 == table.info().rows


@pytest.mark.parametrize(
    "error",
    [
        otp.NoSuchTable("rows"),
        otp.TableNameTaken("rows", "Owner#1"),
        otp.AccessDenied("rows", "insert", "protected", "Owner#1", "Owner#2"),
        otp.KeyNotFound("rows", "k"),
        otp.NotStorable("a set: {1}"),
        otp.NotATableFile("rows.table", "it is text"),
        otp.TableFileDamaged("rows.table", "it is torn"),
        otp.TableFileInUse("rows.table", "it is open"),
        otp.TableMismatch("rows.table", "it is a bag"),
        otp.TableNotSaved("rows.table", "no space"),
    ],
)
def test_errors_pickle_with_their_attributes_and_text(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))
    assert isinstance(copy, kb.KoboshiError)
