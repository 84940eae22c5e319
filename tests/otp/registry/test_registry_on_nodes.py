"""The registry from other nodes: the same answers as at home, and what a lost node held is forgotten."""

from __future__ import annotations

import pytest
from tests.otp.conftest import Directories
from tests.otp.members import Member, doubled, failing, is_big, sees_big

import koboshi as kb
from koboshi import otp

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fork_server")]


async def test_every_node_finds_who_registered_on_another(directories: Directories) -> None:
    rooms, one, two = directories.rooms, directories.one, directories.two
    await one.call(Member.do, rooms, "register", "lobby", 4)

    found = [otp.Registration("lobby", one, 4)]
    for asker in (directories.home, one, two):
        assert found == await asker.call(Member.do, rooms, "lookup", "lobby")
        assert one == await asker.call(Member.do, rooms, "whereis", "lobby")
    assert ["lobby"] == await one.call(Member.do, rooms, "keys")
    assert ["lobby"] == await two.call(Member.do, rooms, "keys", one)
    assert (8, 4) == await one.call(Member.do, rooms, "update_value", "lobby", doubled)
    await two.call(Member.do, rooms, "unregister", "lobby")
    assert [8] == await two.call(Member.do, rooms, "values", "lobby", one)
    await one.call(Member.do, rooms, "unregister", "lobby")
    assert 0 == await two.call(Member.do, rooms, "count")


async def test_uniqueness_is_one_decision_for_all_nodes(directories: Directories) -> None:
    rooms = directories.rooms
    await directories.one.call(Member.do, rooms, "register", "lobby")
    for late in (directories.two, directories.home):
        with pytest.raises(kb.ActorExited) as failed:
            await late.call(Member.do, rooms, "register", "lobby")
        assert isinstance(failed.value.__cause__, otp.AlreadyRegistered)

    assert directories.one == await rooms.whereis("lobby")


async def test_a_function_that_fails_is_its_askers_error(directories: Directories) -> None:
    before = kb.whereis("rooms")
    await directories.one.call(Member.do, directories.rooms, "register", "n", 1)
    with pytest.raises(kb.ActorExited) as failed:
        await directories.one.call(Member.do, directories.rooms, "update_value", "n", failing)

    assert isinstance(failed.value.__cause__, ValueError)
    assert before == kb.whereis("rooms")


async def test_functions_travel_to_the_registry(directories: Directories) -> None:
    many, one = directories.many, directories.one
    for value in (5, 10, 15):
        await one.call(Member.do, many, "register", "n", value)

    assert 2 == await one.call(Member.do, many, "count_match", "n", is_big)
    assert [5] == [each.value for each in await one.call(Member.do, many, "match", "n", 5)]
    assert 2 == len(await one.call(Member.do, many, "select", sees_big))
    await one.call(Member.do, many, "unregister_match", "n", is_big)
    assert [5] == await one.call(Member.do, many, "values", "n")


async def test_what_a_lost_node_held_is_forgotten(directories: Directories) -> None:
    rooms, many = directories.rooms, directories.many
    await directories.one.call(Member.do, rooms, "register", "lobby")
    await directories.one.call(Member.do, many, "register", "n", 1)
    await directories.two.call(Member.do, many, "register", "n", 2)
    await directories.lose("n1")

    assert [] == await rooms.lookup("lobby")
    assert [2] == [each.value for each in await many.lookup("n")]
    await directories.two.call(Member.do, rooms, "register", "lobby")
    assert directories.two == await rooms.whereis("lobby")


async def test_the_end_of_the_registry_reaches_the_registered_on_other_nodes(
    directories: Directories,
) -> None:
    await directories.one.call(Member.do, directories.rooms, "register", "lobby")
    registry = kb.whereis("rooms")
    assert registry is not None
    registry.kill()

    assert not (await directories.one.wait_exit(5) or kb.Normal()).clean
    assert directories.two.alive


async def test_the_end_of_one_that_is_registered_frees_its_key(directories: Directories) -> None:
    await directories.one.call(Member.do, directories.rooms, "register", "lobby")
    directories.one.exit(kb.Exited("over"))
    await directories.one.wait_exit()

    assert await directories.rooms.whereis("lobby") is None


async def test_a_via_leads_from_any_node_to_who_has_the_key_then(directories: Directories) -> None:
    rooms, one, two, home = directories.rooms, directories.one, directories.two, directories.home
    at_home = await rooms.via("lobby", Member)
    elsewhere = await two.call(Member.do, rooms, "via", "lobby", Member)
    assert at_home == elsewhere
    await one.call(Member.do, rooms, "register", "lobby")
    await two.call(Member.tell_to, elsewhere, "from two")
    await one.call(Member.tell_to, elsewhere, "from one itself")
    assert {"from two", "from one itself"} == set(await at_home.call(Member.once_heard, 2))
    await one.call(Member.do, rooms, "unregister", "lobby")
    await home.call(Member.do, rooms, "register", "lobby")
    await two.call(Member.tell_to, elsewhere, "to home")

    assert ["to home"] == await two.call(Member.ask_heard, elsewhere, 1)
    assert ["to home"] == await home.call(Member.once_heard, 1)


async def test_a_child_on_another_node_cannot_start_under_a_key(directories: Directories) -> None:
    with pytest.raises(kb.StartError) as failed:
        await directories.tree.start_child(
            kb.child(Member).options(id="m", on="n1", name=directories.rooms.name("lobby"))
        )

    assert "on_start" in str(failed.value)


async def test_a_registry_may_itself_be_on_a_node_and_takes_the_registered_with_it(
    directories: Directories,
) -> None:
    await directories.tree.start_child(
        kb.child(otp.Registry).options(id="away", name="away", on="n1", restart="temporary")
    )
    away = otp.registry("away")
    await directories.two.call(Member.do, away, "register", "lobby", 1)
    assert [otp.Registration("lobby", directories.two, 1)] == await away.lookup("lobby")
    via = await away.via("lobby", Member)
    via.tell("from home")
    await directories.one.call(Member.tell_to, via, "from the registry's node")
    assert {"from home", "from the registry's node"} == set(await via.call(Member.once_heard, 2))
    await directories.lose("n1")

    assert isinstance(await directories.two.wait_exit(5), kb.NoConnection | kb.Shutdown)
    assert directories.home.alive


async def test_a_via_that_has_been_elsewhere_still_looks_at_each_send(directories: Directories) -> None:
    rooms = directories.rooms
    await directories.one.call(Member.do, rooms, "register", "lobby")
    returned = await directories.two.call(Member.do, rooms, "via", "lobby", Member)
    returned.tell("first")
    assert ["first"] == await directories.one.call(Member.once_heard, 1)
    await directories.one.call(Member.do, rooms, "unregister", "lobby")
    await directories.home.call(Member.do, rooms, "register", "lobby")
    returned.tell("second")

    assert ["second"] == await directories.home.call(Member.once_heard, 1)


async def test_a_via_elsewhere_expects_what_it_was_made_for(directories: Directories) -> None:
    rooms = directories.rooms

    async def other() -> None:
        await rooms.register("lobby")
        await directories.two.call(Member.keep, await rooms.via("lobby", Member))
        await rooms.unregister("lobby")

    # What holds the key when the ref travels is no Member; what holds it later is.
    assert kb.Normal() == await kb.spawn(other).wait_exit(5)
    await directories.home.call(Member.do, rooms, "register", "lobby")

    assert [] == await directories.two.call(Member.ask_kept, 0)
