"""`upgrade_module`: loaded again everywhere, and all actors of its classes go on with it, or none of them."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import koboshi as kb
from koboshi import otp
from koboshi._kernel._node import this_node
from koboshi.otp.hot_code import _module

FIRST = """
import koboshi as kb

class Shop(kb.Actor):
    version = 1
    def __init__(self, stock=0):
        self.stock = stock
    @kb.message
    def sell(self, count):
        self.stock -= count
        return ("one", self.stock)
    @kb.message
    def crash(self):
        raise ValueError("fire")
    class Till(kb.Actor):
        def __init__(self):
            self.money = 0
        @kb.message
        def pay(self, amount):
            self.money += amount
            return ("one", self.money)

class Street(kb.Supervisor):
    @kb.message
    def name(self):
        return "one"
"""
SECOND = """
import koboshi as kb

class Shop(kb.Actor):
    version = 2
    def __init__(self, stock=0):
        self.stocks = {"all": stock}
    def code_change(self, old_version, state):
        return {"stocks": {"all": state["stock"], "from": old_version}}
    @kb.message
    def sell(self, count):
        self.stocks["all"] -= count
        return ("two", self.stocks)
    @kb.message
    def crash(self):
        raise ValueError("flood")
    @kb.message
    def stocktaking(self):
        return self.stocks
    class Till(kb.Actor):
        def code_change(self, old_version, state):
            if state["money"] < 0:
                raise OverflowError("in debt")
            return state
        @kb.message
        def pay(self, amount):
            self.money += amount
            return ("two", self.money)

class Street(kb.Supervisor):
    @kb.message
    def name(self):
        return "two and more"
"""
WITHOUT = SECOND.replace("class Shop", "class Store")
CANCELS = "import asyncio" + SECOND.replace(
    'return {"stocks": {"all": state["stock"]',
    """[task.cancel() for task in asyncio.all_tasks() if task.get_name() == "upgrading"]
        return {"stocks": {"all": state["stock"]""",
)
BROKEN = FIRST + "\nraise ImportError('half a module')\n"

_numbers = itertools.count(1)


class Village:
    """A module that can be written again."""

    def __init__(self, path: Path) -> None:
        self.name = f"hot_village_{next(_numbers)}"
        self.path = path / f"{self.name}.py"
        self.write(FIRST)
        self.module: Any = importlib.import_module(self.name)

    def write(self, text: str) -> None:
        self.path.write_text(text)


@pytest.fixture
def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Village]:
    # Two versions of one second and one size would be one to the cache of compiled modules.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Village(tmp_path)
    yield made
    sys.modules.pop(made.name, None)


async def test_all_actors_of_the_module_go_on_with_the_new_classes(village: Village) -> None:
    old = village.module.Shop
    shops = [await kb.start(old, number) for number in (10, 20)]
    till = await kb.start(village.module.Shop.Till)
    await otp.suspend(shops[0])
    waiting = asyncio.ensure_future(shops[0].call(old.sell, 1))
    await asyncio.sleep(0)
    village.write(SECOND)

    assert 3 == await otp.upgrade_module(village.module)
    await otp.resume(shops[0])
    assert ("two", {"all": 9, "from": 1}) == await waiting
    assert {"all": 20, "from": 1} == await shops[1].call(village.module.Shop.stocktaking)
    assert ("two", 5) == await till.call(village.module.Shop.Till.pay, 5)
    assert 2 == (await otp.get_status(shops[1])).version


async def test_whoever_starts_an_old_class_starts_the_new_one(village: Village) -> None:
    old = village.module.Shop
    spec = kb.child(old, 7)
    async with kb.Supervisor(spec.options(id="running"), spec.options(id="stopped")) as tree:
        await tree.terminate_child("stopped")
        village.write(SECOND)
        assert 1 == await otp.upgrade_module(village.name)
        ref = tree.ref(old, "running")
        with pytest.raises(kb.ActorExited):
            await ref.call(old.crash)
        await tree.wait_ready()
        stopped = await tree.restart_child("stopped")

        assert {"all": 7} == await ref.call(village.module.Shop.stocktaking)
        assert ("two", {"all": 6}) == await stopped.call(old.sell, 1)
        assert ("two", {"all": 5}) == await (await kb.start(old, 6)).call(old.sell, 1)
        assert ("two", {"all": 6}) == await tree.ref(village.module.Shop, "running").call(old.sell, 1)


async def test_a_supervisor_class_of_the_module_keeps_its_children(village: Village) -> None:
    async with village.module.Street(kb.child(village.module.Shop, 3)) as street:
        shop = street.ref(kb.Actor, "Shop")
        name = village.module.Street.name
        village.write(SECOND)

        assert 2 == await otp.upgrade_module(village.module)
        assert "two and more" == await street.me.call(name)
        assert {"all": 3, "from": 1} == await shop.call(village.module.Shop.stocktaking)


@pytest.mark.parametrize("text", [BROKEN, "class :", WITHOUT, SECOND])
async def test_if_anything_fails_all_is_as_before(village: Village, text: str) -> None:
    old, namespace = village.module.Shop, dict(vars(village.module))
    async with kb.Supervisor(kb.child(old, 5)) as tree:
        shop = tree.ref(old, "Shop")
        tills = [await kb.start(old.Till) for _ in range(2)]
        await tills[1].call(old.Till.pay, -5)  # cannot be migrated to the second version
        await otp.suspend(tills[0])
        waiting = asyncio.ensure_future(tills[0].call(old.Till.pay, 1))
        await asyncio.sleep(0)
        village.write(text)
        with pytest.raises(otp.UpgradeFailed):
            await otp.upgrade_module(village.module)

        assert namespace == vars(village.module)
        assert ("one", 4) == await shop.call(old.sell, 1)
        assert ("one", -4) == await tills[1].call(old.Till.pay, 1)
        assert (await otp.get_status(tills[0])).suspended
        await otp.resume(tills[0])
        assert ("one", 1) == await waiting
        with pytest.raises(kb.ActorExited):
            await shop.call(old.crash)
        await tree.wait_ready()
        assert ("one", 4) == await shop.call(old.sell, 1)


async def test_one_that_is_cancelled_half_way_is_undone(village: Village) -> None:
    old = village.module.Shop
    shops = [await kb.start(old, 5) for _ in range(3)]
    village.write(CANCELS)
    upgrading = asyncio.create_task(otp.upgrade_module(village.module), name="upgrading")
    await asyncio.wait([upgrading])

    assert upgrading.cancelled()
    assert old is village.module.Shop
    assert [("one", 4)] * 3 == [await shop.call(old.sell, 1) for shop in shops]


async def test_what_was_renewed_on_a_node_is_undone_there(village: Village) -> None:
    old, node = village.module.Shop, this_node()
    async with kb.Supervisor(kb.child(old, 5), kb.child(kb.Supervisor)) as tree:
        village.write(SECOND)
        _module.reload(node, village.name, "token")
        _module.reload(node, village.name, "token")  # a thread that is a node of the same process
        new = village.module.Shop
        assert [(tree.ref(old, "Shop"), "Shop")] == _module.renew(node, "token")
        assert new is tree._children["Shop"].spec.target
        assert new is old._kb_info.cls
        _module.undo(node, "token")
        _module.undo(node, "token")

        assert old is village.module.Shop
        assert old is old._kb_info.cls
        assert old is tree._children["Shop"].spec.target
        assert [] == _module.renew(node, "token")


@pytest.mark.slow
async def test_a_supervisor_that_is_restarted_starts_the_new_class_elsewhere_too(village: Village) -> None:
    inner = kb.child(kb.Supervisor, kb.child(village.module.Shop, 5).options(on="n1")).options(id="inner")
    async with kb.Supervisor(kb.node("n1"), inner) as tree:
        village.write(SECOND)
        assert 1 == await otp.upgrade_module(village.name)
        tree.ref(kb.Supervisor, "inner").kill()
        await tree.ref(kb.Supervisor, "inner").wait_exit()
        await tree.wait_ready()
        shop: Any = await tree.ref(kb.Supervisor, "inner").call(kb.Supervisor.child, "Shop")

        assert ("two", {"all": 4}) == await shop.call(village.module.Shop.sell, 1)


async def test_what_is_no_module_is_refused() -> None:
    nonsense: Any = 5
    for what in (nonsense, "no_such_module_at_all"):
        with pytest.raises(kb.UsageError, match="takes a module that has been imported, or its name; got"):
            await otp.upgrade_module(what)
    assert isinstance(sys, ModuleType)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
async def test_every_node_loads_it_again_or_none_keeps_it(village: Village, fails: bool) -> None:
    old = village.module.Shop
    specs = [
        kb.child(old, 5).options(id=f"shop {on}", on=on) for on in (None, "n1", "n2", "thread", "process")
    ]
    async with kb.Supervisor(kb.node("n1"), kb.node("n2"), *specs, max_restarts=9) as tree:
        shops = [tree.ref(old, spec.id) for spec in specs]
        till = await tree.start_child(kb.child(old.Till).options(on="n2", id="till"))
        if fails:
            await till.call(old.Till.pay, -1)
        for shop in shops:
            assert ("one", 4) == await shop.call(old.sell, 1)
        village.write(SECOND)
        if fails:
            with pytest.raises(otp.UpgradeFailed, match="in debt"):
                await otp.upgrade_module(village.module)
            village.write(FIRST)  # a process that is started later loads what is there then
        else:
            assert 6 == await otp.upgrade_module(village.module)
        new = village.module.Shop

        assert fails == (new is old)
        for shop, spec in zip(shops, specs, strict=True):
            if fails:
                assert ("one", 3) == await shop.call(new.sell, 1)
            else:
                assert ("two", {"all": 3, "from": 1}) == await shop.call(old.sell, 1)
                assert {"all": 3, "from": 1} == await shop.call(new.stocktaking)
            with pytest.raises(kb.ActorExited):
                await shop.call(old.crash)
            await tree.wait_ready()
            expected = ("one", 4) if fails else ("two", {"all": 4})
            assert expected == await tree.ref(new, spec.id).call(new.sell, 1)
