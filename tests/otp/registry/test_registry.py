"""The registry in one process: keys, values, ends, listeners, addresses."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.otp.members import Member, doubled, failing, is_big, sees_big

import koboshi as kb
from koboshi import otp

UNIQUE, MANY = "unique-registry", "duplicate-registry"


@pytest.fixture(params=[1, 3], ids=["one partition", "three partitions"])
async def tree(request: pytest.FixtureRequest) -> AsyncIterator[kb.Supervisor]:
    async with kb.Supervisor(
        kb.child(otp.Registry, partitions=request.param, listeners=("ear",)).options(id=1, name=UNIQUE),
        kb.child(otp.Registry, keys="duplicate", partitions=request.param).options(id=2, name=MANY),
        max_restarts=1000,
    ) as made:
        yield made


@pytest.fixture
async def rooms(tree: kb.Supervisor) -> otp.RegistryHandle:
    return otp.registry(UNIQUE)


@pytest.fixture
async def many(tree: kb.Supervisor) -> otp.RegistryHandle:
    return otp.registry(MANY)


async def member(**options: Any) -> kb.ActorRef[Member]:
    return await kb.start(Member, **options)


async def test_a_key_finds_its_process_and_value(rooms: otp.RegistryHandle) -> None:
    one = await member()
    await one.call(Member.do, rooms, "register", "lobby", 7)

    assert [otp.Registration("lobby", one, 7)] == await rooms.lookup("lobby")
    assert one == await rooms.whereis("lobby")
    assert [] == await rooms.lookup("nobody")
    assert await rooms.whereis("nobody") is None
    assert 1 == await rooms.count()


async def test_a_taken_key_is_refused_with_its_owner_also_to_the_owner(rooms: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "lobby", 1)
    for late in (one, two):
        with pytest.raises(kb.ActorExited) as failed:
            await late.call(Member.do, rooms, "register", "lobby", 2)
        refused = failed.value.__cause__

        assert isinstance(refused, otp.AlreadyRegistered)
        assert ("lobby", one) == (refused.key, refused.owner)
        if late is two:
            break
        # The owner did not catch the refusal, so it has ended and the key is free at once.
        one = await member()
        await one.call(Member.do, rooms, "register", "lobby", 1)


def deaf_partitions() -> list[kb.ActorRef[Any]]:
    """The registries' own actors, kept from hearing of any end until they are resumed."""
    refs = [each.ref for each in kb.processes() if each.label.startswith("Partition#")]
    for ref in refs:
        ref.suspend()
    assert refs
    return refs


async def test_rule_65_a_dead_owner_is_not_found_and_gives_way_at_once(rooms: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "lobby", 1)
    partitions = deaf_partitions()
    one.kill()
    await one.wait_exit()

    assert [] == await rooms.lookup("lobby")
    assert await rooms.whereis("lobby") is None
    assert [] == await rooms.keys(one)
    assert [] == await rooms.select()
    assert 0 == await rooms.count()
    assert 0 == (await rooms.statistics()).processes
    await two.call(Member.do, rooms, "register", "lobby", 2)
    assert two == await rooms.whereis("lobby")

    for ref in partitions:
        ref.resume()
    # The news of the old owner's end comes only now, and must not take the new one's entry.
    three = await member()
    await three.call(Member.do, rooms, "register", "yard")
    three.kill()
    await three.wait_exit()
    assert two == await rooms.whereis("lobby")
    assert [otp.Registration("lobby", two, 2)] == await rooms.select()


async def test_rule_10_a_key_is_free_before_anybody_hears_of_the_end(rooms: otp.RegistryHandle) -> None:
    seen: list[Any] = []

    async def watch(ref: kb.ActorRef[Any]) -> None:
        kb.monitor(ref)
        await kb.receive(kb.Down)
        seen.append(await rooms.whereis("lobby"))
        await rooms.register("lobby")
        seen.append(await rooms.whereis("lobby") == kb.me())

    for _ in range(50):
        one = await member()
        await one.call(Member.do, rooms, "register", "lobby")
        watcher = kb.spawn(watch, one)
        one.exit(kb.Exited("over"))
        await watcher.wait_exit()

    assert [None, True] * 50 == seen


async def test_rule_65_only_a_process_itself_can_unregister(rooms: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "lobby")
    await two.call(Member.do, rooms, "unregister", "lobby")
    assert one == await rooms.whereis("lobby")
    await one.call(Member.do, rooms, "unregister", "lobby")
    await one.call(Member.do, rooms, "unregister", "lobby")

    assert await rooms.whereis("lobby") is None
    assert [] == await rooms.keys(one)


async def test_rule_66_unregister_drops_all_of_a_duplicate_key_for_the_caller(
    many: otp.RegistryHandle,
) -> None:
    one, two = await member(), await member()
    for value in (1, 2, 2):
        await one.call(Member.do, many, "register", "topic", value)
    await one.call(Member.do, many, "register", "other", 3)
    await two.call(Member.do, many, "register", "topic", 9)
    assert [1, 2, 2, 9] == [each.value for each in await many.lookup("topic")]
    assert [1, 2, 2] == await many.values("topic", one)
    assert ["other", "topic", "topic", "topic"] == sorted(await many.keys(one))
    await one.call(Member.do, many, "unregister", "topic")

    assert [otp.Registration("topic", two, 9)] == await many.lookup("topic")
    assert ["other"] == await many.keys(one)


async def test_values_are_matched_by_equality_and_by_function(many: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    for value in (5, 10, 15):
        await one.call(Member.do, many, "register", "n", value)
    await two.call(Member.do, many, "register", "n", 10)
    assert [5] == [each.value for each in await many.match("n", 5)]
    assert 3 == await many.count_match("n", is_big)
    assert 0 == await many.count_match("m", is_big)
    assert [10, 15, 10] == [each.value for each in await many.select(sees_big)]
    assert 4 == len(await many.select())
    await one.call(Member.do, many, "unregister_match", "n", is_big)

    assert [(one, 5), (two, 10)] == [(each.ref, each.value) for each in await many.lookup("n")]
    await one.call(Member.do, many, "unregister_match", "n", 10)
    assert [5, 10] == [each.value for each in await many.lookup("n")]


async def test_a_value_is_changed_by_its_owner_only(rooms: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "n", 4)

    assert (8, 4) == await one.call(Member.do, rooms, "update_value", "n", doubled)
    assert await two.call(Member.do, rooms, "update_value", "n", doubled) is None
    assert await one.call(Member.do, rooms, "update_value", "m", doubled) is None
    with pytest.raises(kb.ActorExited) as failed:
        await one.call(Member.do, rooms, "update_value", "n", failing)
    assert isinstance(failed.value.__cause__, ValueError)


async def test_what_needs_unique_keys_says_so(many: otp.RegistryHandle) -> None:
    for failing_request in (many.whereis("x"), many.via("x")):
        with pytest.raises(kb.UsageError, match='keys="unique"'):
            await failing_request


async def test_1_and_1_0_and_true_are_one_key(rooms: otp.RegistryHandle) -> None:
    one = await member()
    await one.call(Member.do, rooms, "register", 1)

    assert one == await rooms.whereis(1.0)
    assert one == await rooms.whereis(True)


async def test_a_key_that_cannot_be_hashed_is_refused(rooms: otp.RegistryHandle) -> None:
    with pytest.raises(kb.UsageError, match="hashable"):
        await rooms.lookup([])


async def test_registering_needs_a_process(rooms: otp.RegistryHandle) -> None:
    with pytest.raises(kb.NotInProcess):
        await rooms.register("lobby")


async def test_rule_66_the_end_of_a_registry_is_the_end_of_the_registered(tree: kb.Supervisor) -> None:
    rooms = otp.registry(UNIQUE)
    for reason in (kb.Kill(), kb.Exited("x")):
        one, two = await member(), await member(traps=True)
        for each, key in ((one, "a"), (two, "b")):
            await each.call(Member.do, rooms, "register", key)
        registry = kb.whereis(UNIQUE)
        assert registry is not None
        registry.exit(reason)

        assert not (await one.wait_exit(5) or kb.Normal()).clean
        assert isinstance((await two.call(Member.once_heard, 1))[0], kb.Exit)
        assert two.alive
        await tree.wait_ready()
        assert 0 == await rooms.count()


async def test_an_orderly_end_of_a_registry_reaches_the_registered_too() -> None:
    ref = await kb.start(otp.Registry)
    one = await member()
    await one.call(Member.do, otp.registry(ref), "register", "a")
    await ref.stop()

    assert kb.Shutdown() == await one.wait_exit(5)


async def test_the_end_of_the_registered_is_not_the_end_of_the_registry(rooms: otp.RegistryHandle) -> None:
    before = kb.whereis(UNIQUE)
    for reason in (kb.Exited("x"), kb.Kill(), kb.Shutdown()):
        one = await member()
        await one.call(Member.do, rooms, "register", "a")
        one.exit(reason)
        await one.wait_exit()
    two = await member()
    await two.call(Member.do, rooms, "register", "a")
    await two.call(Member.do, rooms, "unregister", "a")

    assert before == kb.whereis(UNIQUE)
    assert 0 == kb.info(two).links
    assert 0 == kb.info(two).watched_by


async def test_via_goes_to_whoever_has_the_key_at_each_send(rooms: otp.RegistryHandle) -> None:
    via = await rooms.via("lobby", Member)
    assert not via.alive
    with pytest.raises(kb.NotRunning):
        await via.call(Member.once_heard, 0)
    with pytest.raises(kb.NotRunning):
        via.tell("nobody")
    via.cast(Member.fail)  # as to a dead actor, it is lost
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "lobby")
    via.tell("first")
    await one.call(Member.do, rooms, "unregister", "lobby")
    await two.call(Member.do, rooms, "register", "lobby")
    via.tell("second")

    assert ["first"] == await one.call(Member.once_heard, 1)
    assert ["second"] == await via.call(Member.once_heard, 1)
    assert via == await rooms.via("lobby", Member)
    assert via != await rooms.via("yard", Member)
    assert hash(via) == hash(await rooms.via("lobby", Member))


async def test_rule_9_a_monitor_of_a_via_watches_who_has_the_key_now(rooms: otp.RegistryHandle) -> None:
    one, two = await member(), await member()
    await one.call(Member.do, rooms, "register", "lobby")
    via = await rooms.via("lobby")
    got: list[kb.Down] = []

    async def watch() -> None:
        monitor = kb.monitor(via)
        await one.call(Member.do, rooms, "unregister", "lobby")
        await two.call(Member.do, rooms, "register", "lobby")
        two.kill()
        await two.wait_exit()
        assert isinstance(await kb.receive(timeout=0), kb.Timeout)
        one.kill()
        got.append(await kb.receive(kb.Down))
        assert monitor is got[0].monitor

    assert kb.Normal() == await kb.spawn(watch).wait_exit()
    assert kb.Killed() == got[0].reason
    assert via == got[0].target


async def test_a_via_outlives_a_restart_of_its_registry(tree: kb.Supervisor) -> None:
    rooms = otp.registry(UNIQUE)
    via = await rooms.via("lobby", Member)
    old = kb.whereis(UNIQUE)
    assert old is not None
    old.kill()
    await old.wait_exit()
    await tree.wait_ready()
    one = await member()
    await one.call(Member.do, rooms, "register", "lobby")

    assert [] == await via.call(Member.once_heard, 0)


async def test_a_child_starts_under_a_key_and_comes_back_under_it(tree: kb.Supervisor) -> None:
    rooms = otp.registry(UNIQUE)
    await tree.start_child(kb.child(Member).options(id="m", name=rooms.name("lobby", "v")))
    via = await rooms.via("lobby", Member)
    first = await rooms.lookup("lobby")
    assert ["v"] == [each.value for each in first]
    with pytest.raises(kb.ActorExited):
        await via.call(Member.fail)
    await tree.wait_ready()

    again = await rooms.lookup("lobby")
    assert ["v"] == [each.value for each in again]
    assert first != again
    with pytest.raises(otp.AlreadyRegistered):
        await tree.start_child(kb.child(Member).options(id="n", name=rooms.name("lobby")))
    assert again == await rooms.lookup("lobby")


async def test_listeners_are_told_who_comes_and_goes(rooms: otp.RegistryHandle) -> None:
    ear, one = await member(), await member()
    await one.call(Member.do, rooms, "register", "unheard")
    kb.register("ear", ear)
    await one.call(Member.do, rooms, "register", "a", 1)
    await one.call(Member.do, rooms, "unregister", "a")
    one.kill()
    heard = await ear.call(Member.once_heard, 3)

    label = kb.info(kb.whereis(UNIQUE) or ear).label
    assert [
        otp.Registered(label, "a", one, 1),
        otp.Unregistered(label, "a", one),
        otp.Unregistered(label, "unheard", one),
    ] == heard


async def test_a_listener_with_a_full_mailbox_harms_nobody(rooms: otp.RegistryHandle) -> None:
    events: list[kb.events.Event] = []
    stop = kb.listen(events.append)
    async with kb.Supervisor(kb.child(Member).options(name="ear", mailbox=1)) as ears:
        ears.ref(Member, "Member").suspend()
        one = await member()
        for key in range(3):
            await one.call(Member.do, rooms, "register", key)
    stop()

    assert 3 == await rooms.count()
    assert 2 == sum(isinstance(each, kb.events.Dropped) for each in events)


async def test_metadata_is_kept_with_the_registry(rooms: otp.RegistryHandle) -> None:
    await rooms.put_meta("limit", 3)
    assert 3 == await rooms.meta("limit")
    await rooms.delete_meta("limit")

    assert "none" == await rooms.meta("limit", "none")
    with pytest.raises(kb.UsageError, match="hashable"):
        await rooms.put_meta([], 1)
    assert await rooms.meta("x") is None  # the refusal has not ended the registry


async def test_it_has_figures_and_a_one_line_repr(many: otp.RegistryHandle) -> None:
    one = await member()
    for key in ("a", "b", "b"):
        await one.call(Member.do, many, "register", key)
    figures = await many.statistics()

    assert ("duplicate", 3, 2, 1) == (figures.keys, figures.entries, figures.distinct, figures.processes)
    assert repr(otp.Registry()) == "<Registry not started, unique keys, 0 entries>"
    assert repr(many).startswith("<RegistryHandle of <ActorRef name 'duplicate-registry'")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"keys": "some"}, "keys"),
        ({"partitions": 0}, "partitions"),
        ({"partitions": True}, "partitions"),
        ({"partitions": "2"}, "partitions"),
        ({"listeners": "ear"}, "listeners"),
        ({"listeners": [[]]}, "listeners"),
        ({"listeners": 5}, "listeners takes several names"),
    ],
)
def test_an_option_with_no_such_value_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(kb.UsageError, match=named):
        otp.Registry(**options)


async def test_a_handle_refuses_other_actors() -> None:
    with pytest.raises(kb.UsageError, match="Registry"):
        otp.registry(await member())
    with pytest.raises(kb.NotRunning):
        await otp.registry("nobody has this name").lookup("a")


def test_its_error_survives_a_pickle() -> None:
    again = pickle.loads(pickle.dumps(otp.AlreadyRegistered("lobby", None)))

    assert ("lobby", "lobby", None) == (again.key, again.name, again.owner)
    assert isinstance(again, kb.NameTaken)


async def test_a_process_is_asked_for_by_its_ref_and_not_by_a_name(rooms: otp.RegistryHandle) -> None:
    with pytest.raises(kb.UsageError, match=r"keys takes the ref of a process.*got 'x'"):
        await rooms.keys("x")  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match=r"values takes the ref of a process.*got 'x'"):
        await rooms.values("lobby", "x")  # type: ignore[arg-type]
