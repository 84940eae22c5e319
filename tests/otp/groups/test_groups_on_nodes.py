"""Process groups across nodes: one scope, one answer."""

from __future__ import annotations

import pytest
from tests.otp.conftest import Directories
from tests.otp.members import Member

import koboshi as kb
from koboshi import otp

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_members_of_all_nodes_are_seen_from_each(directories: Directories) -> None:
    teams, home, one, two = directories.teams, directories.home, directories.one, directories.two
    for each in (home, one, two):
        await each.call(Member.do, teams, "join", "g")
    await one.call(Member.do, teams, "join", "of one")

    for each in (home, one, two):
        assert {home, one, two} == set(await each.call(Member.do, teams, "members", "g"))
        assert [each] == await each.call(Member.do, teams, "local_members", "g")
        assert ["g", "of one"] == await each.call(Member.do, teams, "which_groups")
    assert ["g"] == await two.call(Member.do, teams, "which_local_groups")
    assert ["g", "of one"] == await one.call(Member.do, teams, "which_local_groups")


async def test_rule_67_only_processes_of_ones_own_node_are_joined(directories: Directories) -> None:
    with pytest.raises(kb.UsageError, match="another"):
        await directories.teams.join("g", directories.one)

    assert [] == await directories.teams.members("g")


async def test_a_lost_node_is_told_as_its_members_leaving(directories: Directories) -> None:
    teams, one, two = directories.teams, directories.one, directories.two
    for _ in range(2):
        await one.call(Member.do, teams, "join", "g")
    watch, now = await two.call(Member.do, teams, "monitor", "g")
    assert [one, one] == now
    await directories.lose("n1")

    assert [otp.Left(watch, "g", (one, one))] == await two.call(Member.once_heard, 1)
    assert [] == await two.call(Member.do, teams, "members", "g")


async def test_a_refusal_reaches_another_node_and_the_scope_goes_on(directories: Directories) -> None:
    with pytest.raises(kb.ActorExited) as failed:
        await directories.one.call(Member.do, directories.teams, "leave", "g")

    assert isinstance(failed.value.__cause__, otp.NotJoined)
    assert [] == await directories.two.call(Member.do, directories.teams, "members", "g")
