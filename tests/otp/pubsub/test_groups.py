"""Groups: counted membership, and news of it. Rule 67 of OTP's process groups."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest
from tests.otp.pubsub.members import Member
from tests.otp.pubsub.test_pubsub import _pid_of, members

import koboshi as kb
from koboshi import otp

GROUPS = kb.child(otp.Groups).options(name="groups")


async def test_a_member_is_there_as_often_as_it_joined_and_leaves_as_often() -> None:
    async with kb.Supervisor(GROUPS) as tree:
        one, two = await members(tree, "one", "two")
        groups = otp.groups("groups")
        for ref in (one, two, one):
            await ref.call(Member.join, "g")
        assert [one, one, two] == sorted(await groups.members("g"), key=[one, two].index)
        await one.call(Member.leave, "g")
        assert {one, two} == set(await groups.members("g"))
        await one.call(Member.leave, "g")
        assert [two] == await groups.members("g")

        await two.call(Member.leave, "g")
        assert [] == await groups.members("g")
        assert [] == await groups.which_groups()


async def test_leaving_a_group_that_one_is_not_in_is_an_error_and_changes_nothing() -> None:
    async with kb.Supervisor(GROUPS) as tree:
        one, two = await members(tree, "one", "two")
        groups = otp.groups("groups")
        await groups.join("g", one)
        with pytest.raises(otp.NotJoined) as refused:
            await groups.leave("g", one, two)

        assert ("g", two) == (refused.value.group, refused.value.ref)
        assert [one] == await groups.members("g")
        with pytest.raises(otp.NotJoined):
            await groups.leave("g", one, one)
        with pytest.raises(otp.NotJoined):
            await groups.leave("nobody's", one)


async def test_the_dead_are_out_of_all_groups_and_cannot_join() -> None:
    async with kb.Supervisor(GROUPS) as tree:
        one, two = await members(tree, "one", "two")
        groups = otp.groups("groups")
        await groups.join("g", one, two, one)
        await groups.join("h", one)
        one.kill()
        await one.wait_exit()

        assert [two] == await groups.members("g")
        assert [] == await groups.members("h")
        with pytest.raises(kb.NotRunning):
            await groups.join("g", one)
        assert ["g"] == await groups.which_groups()


async def test_who_monitors_a_group_has_its_members_and_then_every_change() -> None:
    async with kb.Supervisor(GROUPS) as tree:
        watcher, one, two = await members(tree, "watcher", "one", "two")
        groups = otp.groups("groups")
        await groups.join("g", one)
        assert [one] == await watcher.call(Member.watch, "g")
        await groups.join("g", two, two)
        await groups.join("other", one)
        await groups.leave("g", one)
        two.kill()
        await two.wait_exit()
        await groups.which_groups()  # behind the news of its end
        await watcher.call(Member.unwatch, "g")
        await groups.join("g", one)

        assert [
            otp.Joined("g", (two, two)),
            otp.Left("g", (one,)),
            otp.Left("g", (two, two)),
        ] == await watcher.call(Member.seen)


async def test_who_monitors_all_groups_has_each_change_once() -> None:
    async with kb.Supervisor(GROUPS) as tree:
        watcher, one = await members(tree, "watcher", "one")
        groups = otp.groups("groups")
        await groups.join("g", one)
        assert {"g": [one]} == await watcher.call(Member.watch_all)
        assert [] == await watcher.call(Member.watch, "h")
        await groups.join("h", one)

        assert [otp.Joined("h", (one,))] == await watcher.call(Member.seen)


async def test_what_cannot_be_is_refused_by_name() -> None:
    async with kb.Supervisor(GROUPS):
        groups = otp.groups("groups")
        with pytest.raises(kb.UsageError, match="join takes refs"):
            await groups.join("g", "one")  # type: ignore[arg-type]
        with pytest.raises(kb.UsageError, match="a group is something that can be hashed"):
            await groups.join([])
        with pytest.raises(kb.NotInProcess, match="join is about the process"):
            await groups.join("g")


def test_the_error_keeps_its_parts_in_a_pickle() -> None:
    error: Any = pickle.loads(pickle.dumps(otp.NotJoined("g", None)))  # type: ignore[arg-type]

    assert ("g", None) == (error.group, error.ref)


@pytest.mark.slow
async def test_groups_are_one_on_all_nodes_and_forget_a_lost_one() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    async with kb.Supervisor(nodes, GROUPS) as tree:
        [here] = await members(tree, "here")
        [one] = await members(tree, "one", on="n1")
        [two] = await members(tree, "two", on="n2")
        groups = otp.groups("groups")
        for ref in (here, one, two, one):
            await ref.call(Member.join, "g")

        assert {here, one, two} == set(await groups.members("g"))
        assert [one, one] == await one.call(Member.local, "g")
        assert [here] == await here.call(Member.local, "g")
        await two.call(Member.watch, "g")
        os.kill(await _pid_of(tree, "n1"), 9)
        await one.wait_exit()
        assert {here, two} == set(await groups.members("g"))
        assert [otp.Left("g", (one, one))] == await two.call(Member.seen)
        with pytest.raises(otp.NotJoined):
            await groups.leave("g", one)
