"""`upgrade` of an actor of another node, and what the nodes that know it make of that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.otp.hot_code.versions import CannotMigrate, Counter, Counter2, OtherArguments

import koboshi as kb
from koboshi import otp
from koboshi._kernel._system import ask
from koboshi.otp.hot_code._change import commit, prepare
from koboshi.otp.hot_code._upgrade import finish
from koboshi.wire import NotPicklable

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


class User(kb.Actor):
    """Knows a counter and asks it from where it lives."""

    def __init__(self) -> None:
        self.ref: Any = None

    @kb.message
    def know(self, ref: kb.ActorRef[Any]) -> None:
        self.ref = ref

    @kb.message
    async def use(self) -> Any:
        return await self.ref.call(Counter.add, 1)

    @kb.message
    async def use_new(self) -> Any:
        return await self.ref.call(Counter2.add_pears, 1)

    @kb.message
    async def upgrade(self) -> None:
        await otp.upgrade(self.ref, Counter2)

    @kb.message
    def give_back(self) -> kb.ActorRef[Any]:
        ref: kb.ActorRef[Any] = self.ref
        return ref


def tree_of(**options: Any) -> kb.Supervisor:
    return kb.Supervisor(
        kb.node("n1"),
        kb.node("n2"),
        kb.child(Counter, 5).options(id="counter", **options),
        *(kb.child(User).options(id=id, on=on) for id, on in (("u1", "n1"), ("u2", "n2"), ("u0", None))),
    )


@pytest.mark.parametrize(
    ("on", "upgrader", "stable"),
    [(None, "u1", True), ("n1", "u0", True), ("n1", "u2", False)],
)
async def test_refs_on_all_nodes_know_the_new_class(on: str | None, upgrader: str, stable: bool) -> None:
    async with tree_of(on=on) as tree:
        ref: Any = tree.ref(Counter, "counter")
        if not stable:
            ref = next(each.ref for each in await tree.which_children() if each.id == "counter")
        users = [tree.ref(User, id) for id in ("u0", "u1", "u2")]
        for user in users:
            await user.call(User.know, ref)
            await user.call(User.use)
        await tree.ref(User, upgrader).call(User.upgrade)

        assert [{"apples": 9}, {"apples": 10}, {"apples": 11}] == [
            await each.call(User.use) for each in users
        ]
        for user in users:
            assert {"apples": 11, "pears": 1} == await user.call(User.use_new)
            again: Any = await user.call(User.give_back)
            assert {"apples": 11, "pears": 2} == await again.call(Counter2.add_pears, 2)
        with pytest.raises(kb.ActorExited):
            await ref.call(Counter2.crash)
        await tree.wait_ready()
        assert {"apples": 6} == await tree.ref(Counter, "counter").call(Counter.add, 1)


async def test_an_upgrade_that_is_cancelled_on_its_way_has_happened_or_not_and_holds_nobody_up() -> None:
    async with tree_of(on="n1") as tree:
        ref: Any = tree.ref(Counter, "counter")
        for rounds in range(8):
            upgrading = asyncio.ensure_future(otp.upgrade(ref, Counter2))
            for _ in range(rounds):
                await asyncio.sleep(0)
            upgrading.cancel()
            await asyncio.wait([upgrading])
            assert upgrading.cancelled()
            status = await otp.get_status(ref)
            assert (False, 1) == (status.suspended, status.version)
            assert rounds + 6 == await ref.call(Counter.add, 1)


class Finisher(kb.Actor):
    """Commits, or ends another one that does."""

    @kb.message
    async def finish(self, ref: kb.ActorRef[Any]) -> None:
        await finish([ref], commit, "token")

    @kb.message
    def end(self, other: kb.ActorRef[Any]) -> None:
        other.exit(kb.Shutdown())


async def test_a_commit_that_is_cancelled_on_its_way_is_sent_again() -> None:
    async with kb.Supervisor(kb.node("n1"), kb.child(Counter, 5).options(on="n1")) as tree:
        ref: Any = tree.ref(Counter, "Counter")
        finisher, other = await kb.start(Finisher), await kb.start(Finisher)
        await ask(ref, prepare, "token", Counter2)
        # In one tick, so that the commit and its cancellation leave together.
        finisher.cast(Finisher.finish, ref)
        other.cast(Finisher.end, finisher)
        assert kb.Shutdown() == await finisher.wait_exit(5)
        status = await otp.get_status(ref)

        assert (False, 2) == (status.suspended, status.version)


async def test_an_upgrade_that_fails_elsewhere_is_undone_on_all_nodes() -> None:
    async with tree_of(on="n1") as tree:
        ref: Any = tree.ref(Counter, "counter")
        user = tree.ref(User, "u2")
        await user.call(User.know, ref)
        with pytest.raises(otp.UpgradeFailed, match="LookupError: no such fruit"):
            await otp.upgrade(ref, CannotMigrate)
        with pytest.raises(kb.UsageError, match="arguments that do not fit"):
            await otp.upgrade(ref, OtherArguments)

        class Local(Counter):
            pass

        with pytest.raises(NotPicklable):
            await otp.upgrade(ref, Local)
        assert 6 == await ref.call(Counter.add, 1)
        assert 7 == await user.call(User.use)
        with pytest.raises(kb.UsageError, match="add_pears is not a message of Counter"):
            await ref.call(Counter2.add_pears, 1)
