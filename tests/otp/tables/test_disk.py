"""Disk tables: what is synced is there again, whatever happens; what is no table file is refused."""

# ruff: noqa: ASYNC240
# Nothing else runs meanwhile, so the blocking file functions do no harm.

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.otp.tables.rig import KINDS, Owner, as_process, reopened

import koboshi as kb
from koboshi import otp
from koboshi.otp.tables import _table_file
from koboshi.otp.tables._rows_codec import decode_rows, encode_key, encode_rows


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_done_to_a_table_is_there_when_it_is_opened_again(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "rows"

    async def body() -> list[Any]:
        table = await otp.DiskTable[Any].open(path, kind=kind)
        table.insert((1, "a"), (2, "b"), (3, "c"), (2, "b"), (2, "d"))
        table.insert((4, "e"))
        table.delete(3)
        table.insert_new((5, 0), (6, 0))
        table.take(5)
        table.delete_object((1, "a"))
        table.select_delete((6, otp.ANY))
        if kind in ("set", "ordered_set"):
            table.insert((7, 1, "x"))
            table.update_counter(7)
            table.update_element(7, (2, "y"))
        if kind != "bag":
            table.select_replace((4, otp.ANY), lambda row: (4, "E"))
        return table.rows()

    rows = await as_process(body)

    assert sorted(rows, key=repr) == sorted(await reopened(path, kind=kind), key=repr)
    assert [row for row in rows if row[0] == 2] == [
        row for row in await reopened(path, kind=kind) if row[0] == 2
    ]


async def test_delete_all_is_kept_as_well(tmp_path: Path) -> None:
    async def body() -> None:
        table = await otp.DiskTable[Any].open(tmp_path / "rows")
        table.insert((1, "a"), (2, "b"))
        await table.sync()
        table.insert((3, "c"))
        table.delete_all()
        table.insert((4, "d"))

    await as_process(body)

    assert [(4, "d")] == await reopened(tmp_path / "rows")


VALUES = (
    None,
    True,
    -(2**63),
    2**64 - 1,
    2**64,
    -(2**200),
    1.5,
    "é\x00",
    b"\x00\xff",
    (),
    (1, ("x",)),
    [1, [2]],
)


async def test_values_come_back_equal_and_of_their_types(tmp_path: Path) -> None:
    rows = [(n, value, {"k": value, 7: [value]}) for n, value in enumerate(VALUES)]

    async def body() -> None:
        table = await otp.DiskTable[Any].open(tmp_path / "rows", kind="ordered_set")
        table.insert(*rows)

    await as_process(body)
    found = await reopened(tmp_path / "rows", kind="ordered_set")

    assert rows == found
    assert [repr(row) for row in rows] == [repr(row) for row in found]


def test_equal_keys_are_one_key_in_the_file_and_rows_keep_their_types() -> None:
    assert encode_key(1) == encode_key(1.0) == encode_key(True)
    assert encode_key((1, ("a", 2.0))) == encode_key((True, ("a", 2)))
    assert encode_key(1) != encode_key("1") != encode_key(1.5)
    assert repr([(1.0, True)]) == repr(decode_rows(encode_rows([(1.0, True)])))


async def test_a_row_whose_key_is_equal_takes_the_place_of_the_other_in_the_file_too(tmp_path: Path) -> None:
    async def body() -> None:
        table = await otp.DiskTable[Any].open(tmp_path / "rows")
        table.insert((1, "int"))
        await table.sync()
        table.insert((1.0, "float"))

    await as_process(body)

    assert "[(1.0, 'float')]" == repr(await reopened(tmp_path / "rows"))


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("bad", [{1}, object(), 1j, "\ud800", LOOP, {(1, 2): 3}, range(3)])
async def test_a_value_that_cannot_be_stored_is_refused_at_its_insert_and_changes_nothing(
    tmp_path: Path, bad: Any
) -> None:
    async def body() -> list[Any]:
        table = await otp.DiskTable[Any].open(tmp_path / "rows")
        table.insert(("a", 1))
        for change in (
            lambda: table.insert(("b", 1), ("a", bad)),
            lambda: table.update_element("a", (1, bad)),
        ):
            with pytest.raises(otp.NotStorable):
                change()
        return table.rows()

    assert [("a", 1)] == await as_process(body)
    assert [("a", 1)] == await reopened(tmp_path / "rows")


async def test_the_file_is_for_its_owner_only_and_so_is_its_log(tmp_path: Path) -> None:
    async def body() -> list[str]:
        table = await otp.DiskTable[Any].open(tmp_path / "rows")
        table.insert(("a", 1))
        await table.sync()
        found = [f"{path.name} {path.stat().st_mode & 0o777:o}" for path in sorted(tmp_path.iterdir())]
        await table.close()
        return found

    umask = os.umask(0)
    try:
        assert ["rows 600", "rows-wal 600"] == await as_process(body)
    finally:
        os.umask(umask)
    assert ["rows"] == [path.name for path in tmp_path.iterdir()]


async def test_sync_waits_for_the_disk_and_many_at_once_share_a_save(tmp_path: Path) -> None:
    async def body() -> Any:
        table = await otp.DiskTable[Any].open(tmp_path / "rows", auto_save=None)
        for n in range(100):
            table.insert((n, "x"))
        unsaved = table.statistics().unsaved
        await asyncio.gather(*(table.sync() for _ in range(20)))
        await table.sync()
        return unsaved, table.statistics()

    unsaved, after = await as_process(body)

    assert 100 == unsaved
    assert otp.TableStatistics(rows=100, keys=100, fixed=0, unsaved=0, saves=1) == after


async def test_a_change_is_saved_by_itself_after_a_while(tmp_path: Path) -> None:
    async def body() -> int:
        table = await otp.DiskTable[Any].open(tmp_path / "rows", auto_save=0.01)
        saving = asyncio.Event()
        save = table._journal._file.write

        def watched(*args: Any, **kwargs: Any) -> None:
            save(*args, **kwargs)
            table._node.loop.call_soon_threadsafe(saving.set)

        table._journal._file.write = watched  # type: ignore[method-assign]
        table.insert(("a", 1))
        await saving.wait()
        await table.sync()
        return table.statistics().saves

    assert 1 == await as_process(body)


async def test_a_change_during_a_save_is_waited_for_by_its_own_sync(tmp_path: Path) -> None:
    async def body() -> int:
        table = await otp.DiskTable[Any].open(tmp_path / "rows", auto_save=None)
        write, begun, go_on = table._journal._file.write, asyncio.Event(), threading.Event()

        def slow(*args: Any, **kwargs: Any) -> None:
            table._node.loop.call_soon_threadsafe(begun.set)
            go_on.wait()
            write(*args, **kwargs)

        table._journal._file.write = slow  # type: ignore[method-assign]
        table.insert(("a", 1))
        first = asyncio.ensure_future(table.sync())
        await begun.wait()
        table.insert(("b", 2))
        go_on.set()
        await first
        await table.sync()
        return table.statistics().saves

    assert 2 == await as_process(body)


async def test_a_sync_under_way_when_the_owner_ends_hears_of_the_last_save(tmp_path: Path) -> None:
    owner = await kb.start(Owner)
    table = await owner.call(
        Owner.run, lambda: otp.DiskTable[Any].open(tmp_path / "rows", access="public", auto_save=None)
    )
    write, begun, go_on = table._journal._file.write, asyncio.Event(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> None:
        table._node.loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        write(*args, **kwargs)

    table._journal._file.write = slow
    table.insert(("a", 1))
    first = asyncio.ensure_future(table.sync())
    await begun.wait()
    table.insert(("b", 2))
    second = asyncio.ensure_future(table.sync())
    await asyncio.sleep(0)
    owner.kill()
    await owner.wait_exit()
    go_on.set()
    await asyncio.gather(first, second)

    assert [("a", 1), ("b", 2)] == await reopened(tmp_path / "rows")


@pytest.mark.slow
async def test_a_table_on_a_node_is_saved_when_the_program_stops(tmp_path: Path) -> None:
    rows = [(n, "x" * 20) for n in range(50_000)]  # more than is written in a moment
    for on in ("process", "n1"):
        spec = otp.TableSpec("rows", path=tmp_path / on, auto_save=None)
        owner = kb.child(otp.TableOwner, spec).options(id="tables", on=on)
        async with kb.Supervisor(kb.node("n1"), owner) as tree:
            await otp.table(tree.ref(otp.TableOwner, "tables"), "rows").insert(*rows)

        assert rows == sorted(await reopened(tmp_path / on))


class Failing(sqlite3.Connection):
    """A connection whose commits fail while there is no space."""

    full = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == "COMMIT" and Failing.full:
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *args)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    """Disk tables on a disk that can be full."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect
    monkeypatch.setattr(_table_file.sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Failing))  # type: ignore[attr-defined]
    Failing.full = False
    return Failing


async def test_a_save_that_fails_is_told_and_made_up_for_by_the_next(
    tmp_path: Path, disk: type[Failing]
) -> None:
    async def body() -> None:
        table = await otp.DiskTable[Any].open(tmp_path / "rows", auto_save=None)
        table.insert(("a", 1), ("b", 1))
        disk.full = True
        with pytest.raises(otp.TableNotSaved, match="full"):
            await table.sync()
        table.insert(("a", 2))
        with pytest.raises(otp.TableNotSaved):
            await table.sync()
        disk.full = False
        await table.sync()

    await as_process(body)

    assert [("a", 2), ("b", 1)] == sorted(await reopened(tmp_path / "rows"))


async def test_an_automatic_save_that_fails_crashes_the_owner(tmp_path: Path, disk: type[Failing]) -> None:
    owner = await kb.start(Owner)
    events: list[Any] = []
    stop = kb.listen(events.append)
    table = await owner.call(Owner.run, lambda: otp.DiskTable.open(tmp_path / "rows", auto_save=0.0))
    disk.full = True
    await owner.call(Owner.run, table.insert, ("a", 1))
    reason = await owner.wait_exit()
    stop()

    assert isinstance(reason, kb.Crashed)
    assert isinstance(reason.error, otp.TableNotSaved)
    assert 1 == sum(isinstance(each, kb.events.CrashReport) for each in events)
    disk.full = False


async def test_a_new_owner_waits_for_the_file_of_one_that_has_just_ended(tmp_path: Path) -> None:
    for n in range(20):
        owner = await kb.start(Owner)
        table = await owner.call(Owner.run, lambda: otp.DiskTable.open(tmp_path / "rows"))
        assert n == len(table)
        await owner.call(Owner.run, table.insert, (n, "x"))
        owner.kill()
        await owner.wait_exit()

    assert 20 == len(await reopened(tmp_path / "rows"))


async def test_a_supervised_owner_finds_its_rows_after_each_crash(tmp_path: Path) -> None:
    class Counter(kb.Actor):
        async def on_start(self) -> None:
            self.table = await otp.DiskTable[tuple[str, int]].open(tmp_path / "hits")

        @kb.message
        def hit(self) -> int:
            return self.table.update_counter("hits", 1, ("hits", 0))

        @kb.message
        def crash(self) -> None:
            raise ValueError("crash")

    async with kb.Supervisor(kb.child(Counter).options(id="counter"), max_restarts=100) as tree:
        counter = tree.ref(Counter, "counter")
        for n in range(1, 6):
            assert n == await counter.call(Counter.hit)
            with pytest.raises(kb.ActorExited):
                await counter.call(Counter.crash)
            await tree.wait_ready()


@pytest.mark.parametrize(
    "options",
    [
        {"auto_save": -1},
        {"auto_save": "1"},
        {"auto_save": float("nan")},
        {"wait": None},
        {"wait": True},
        {"kind": "x"},
    ],
)
async def test_an_option_that_is_none_is_refused_before_a_file_is_made(tmp_path: Path, options: Any) -> None:
    with pytest.raises(kb.UsageError, match=next(iter(options))):
        await reopened(tmp_path / "rows", **options)

    assert [] == list(tmp_path.iterdir())


async def test_a_name_that_is_taken_leaves_the_file_free(tmp_path: Path) -> None:
    async def body() -> None:
        taken = otp.Table[Any]("hits", named=True)
        with pytest.raises(otp.TableNameTaken):
            await otp.DiskTable.open(tmp_path / "rows", name="hits", named=True)
        taken.drop()
        table = await otp.DiskTable[Any].open(tmp_path / "rows", name="hits", named=True)
        table.insert(("a", 1))
        await table.close()
        assert not table.exists
        assert [("a", 1)] == (await otp.DiskTable[Any].open(tmp_path / "rows")).rows()

    await as_process(body)


async def test_an_owner_that_is_killed_while_it_opens_a_file_leaves_it_free(tmp_path: Path) -> None:
    owner = await kb.start(Owner)
    begun = asyncio.Event()

    async def opens() -> Any:
        begun.set()
        return await otp.DiskTable[Any].open(tmp_path / "rows")

    opening = asyncio.ensure_future(owner.call(Owner.run, opens))
    await begun.wait()
    owner.kill()
    with pytest.raises(kb.ActorExited):
        await opening

    assert [] == await reopened(tmp_path / "rows")


async def test_a_disk_table_is_opened_and_not_made() -> None:
    with pytest.raises(kb.UsageError, match="opened"):
        otp.DiskTable("rows")


async def test_an_heir_inherits_the_file_with_the_table(tmp_path: Path) -> None:
    heir, owner = await kb.start(Owner), await kb.start(Owner)
    table = await owner.call(Owner.run, lambda: otp.DiskTable.open(tmp_path / "rows", heir=heir))
    await owner.call(Owner.run, table.insert, ("a", 1))
    await owner.stop()
    await heir.call(Owner.run, table.insert, ("b", 2))
    await heir.call(Owner.run, table.sync)
    await heir.stop()

    assert [("a", 1), ("b", 2)] == await reopened(tmp_path / "rows")
