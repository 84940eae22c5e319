"""Process groups: counted members, watches without a gap, ends."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.otp.members import Member
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


@pytest.fixture
async def teams() -> AsyncIterator[otp.GroupsHandle]:
    async with kb.Supervisor(kb.child(otp.Groups).options(name="groups"), max_restarts=1000):
        yield otp.groups("groups")


async def member() -> kb.ActorRef[Member]:
    return await kb.start(Member)


async def test_rule_67_who_joins_twice_leaves_twice(teams: otp.GroupsHandle) -> None:
    one = await member()
    await teams.join("g", one)
    await one.call(Member.do, teams, "join", "g")
    assert [one, one] == await teams.members("g")
    await teams.leave("g", one)
    assert [one] == await teams.members("g")
    await teams.leave("g", one)

    assert [] == await teams.members("g")
    assert [] == await teams.which_groups()
    assert 0 == kb.info(one).watched_by


async def test_rule_67_one_that_has_not_joined_cannot_leave(teams: otp.GroupsHandle) -> None:
    one, two = await member(), await member()
    await teams.join("g", one)
    for group, ref in (("g", two), ("h", one)):
        with pytest.raises(otp.NotJoined) as refused:
            await teams.leave(group, ref)
        assert (group, (ref,)) == (refused.value.group, refused.value.refs)
    await teams.leave("g", two, one)  # one of them was in

    assert [] == await teams.members("g")


async def test_several_join_at_once(teams: otp.GroupsHandle) -> None:
    one, two = await member(), await member()
    await teams.join("g", one, two, one)
    await teams.join("h", two)

    assert Counter({one: 2, two: 1}) == Counter(await teams.members("g"))
    assert ["g", "h"] == await teams.which_groups()
    assert ["g", "h"] == await teams.which_local_groups()
    assert 3 == len(await teams.local_members("g"))
    figures = await teams.statistics()
    assert (2, 4, 2, 0) == (figures.groups, figures.memberships, figures.processes, figures.monitors)


async def test_the_dead_are_no_members_at_once(teams: otp.GroupsHandle) -> None:
    one, two = await member(), await member()
    await teams.join("g", one, one, two)
    await teams.join("h", one)
    one.kill()
    await one.wait_exit()

    assert [two] == await teams.members("g")
    assert ["g"] == await teams.which_groups()
    with pytest.raises(kb.ActorExited):
        await teams.join("g", one)


async def test_a_watch_begins_with_the_members_and_misses_no_change(teams: otp.GroupsHandle) -> None:
    one, two, ear = await member(), await member(), await member()
    await teams.join("g", one)
    watch, now = await ear.call(Member.do, teams, "monitor", "g")
    assert [one] == now
    await teams.join("other", two)
    await teams.join("g", two, two)
    await teams.leave("g", one)
    two.kill()
    heard = await ear.call(Member.once_heard, 3)

    assert [
        otp.Joined(watch, "g", (two, two)),
        otp.Left(watch, "g", (one,)),
        otp.Left(watch, "g", (two, two)),
    ] == heard
    assert await teams.demonitor(watch)
    assert not await teams.demonitor(watch)
    await teams.join("g", one)
    assert 3 == len(await ear.call(Member.once_heard, 3))


async def test_a_watch_over_a_scope_hears_of_all_groups(teams: otp.GroupsHandle) -> None:
    one, ear = await member(), await member()
    await teams.join("g", one)
    watch, now = await ear.call(Member.do, teams, "monitor_scope")
    assert {"g": [one]} == now
    await teams.join("h", one)
    one.kill()

    assert [
        otp.Joined(watch, "h", (one,)),
        otp.Left(watch, "g", (one,)),
        otp.Left(watch, "h", (one,)),
    ] == await ear.call(Member.once_heard, 3)


async def test_no_end_is_told_of_one_that_the_snapshot_left_out(teams: otp.GroupsHandle) -> None:
    one, two, ear, scope = await member(), await member(), await member(), kb.whereis("groups")
    assert scope is not None
    await teams.join("g", one)
    scope.suspend()  # it has not heard of the end when it is asked
    one.kill()
    await one.wait_exit()
    watch, now = await ear.call(Member.do, teams, "monitor", "g")
    assert [] == now
    scope.resume()
    await scope.call(otp.Groups.statistics)
    await teams.join("g", two)

    assert [otp.Joined(watch, "g", (two,))] == await ear.call(Member.once_heard, 1)


async def test_a_watcher_that_ends_is_forgotten(teams: otp.GroupsHandle) -> None:
    ear = await member()
    await ear.call(Member.do, teams, "monitor", "g")
    await ear.call(Member.do, teams, "monitor_scope")
    assert 2 == (await teams.statistics()).monitors
    ear.kill()
    await ear.wait_exit()
    await teams.demonitor(otp.GroupMonitor(0))
    figures = await kb.named(otp.Groups, "groups").call(otp.Groups.statistics)

    assert 0 == figures.monitors


async def test_rule_67_a_restarted_scope_has_forgotten_its_members(teams: otp.GroupsHandle) -> None:
    one = await member()
    await teams.join("g", one)
    old = kb.whereis("groups")
    assert old is not None
    async with kb.Supervisor():
        old.kill()
        await old.wait_exit()
    while kb.whereis("groups") is None:
        await kb.spawn(_nothing).wait_exit()

    assert one.alive
    assert [] == await teams.members("g")


async def _nothing() -> None:
    """A process that ends: by then others have had their turns."""


async def test_what_does_not_fit_is_refused(teams: otp.GroupsHandle) -> None:
    one = await member()
    with pytest.raises(kb.UsageError, match="group must be hashable"):
        await teams.join([], one)
    with pytest.raises(kb.NotInProcess):
        await teams.join("g")
    with pytest.raises(kb.UsageError, match="Groups"):
        otp.groups(one)
    with pytest.raises(kb.NotRunning):
        await otp.groups("nobody has this name").members("g")


def test_its_error_survives_a_pickle() -> None:
    again = pickle.loads(pickle.dumps(otp.NotJoined("g", ())))

    assert ("g", None) == (again.group, again.refs)


def test_it_prints_in_one_line() -> None:
    assert "<Groups not started, 0 groups>" == repr(otp.Groups())


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "kill"]), st.integers(0, 2), st.sampled_from(["g", "h"])),
    max_size=30,
)


@settings(max_examples=60)
@given(STEPS)
def test_a_watch_over_the_scope_always_adds_up_to_the_members(steps: list[Step]) -> None:
    """The model is a counter of memberships; the watcher's own sum must agree with it too."""

    async def scene() -> None:
        scope = await kb.start(otp.Groups)
        teams = otp.groups(scope)
        refs = [await member() for _ in range(3)]
        ear = await member()
        await ear.call(Member.do, teams, "monitor_scope")
        model: Counter[tuple[str, kb.ActorRef[Member]]] = Counter()
        for what, index, group in steps:
            ref = refs[index]
            if what == "kill":
                ref.kill()
                await ref.wait_exit()
                for key in [key for key in model if key[1] == ref]:
                    del model[key]
                refs[index] = await member()
            elif what == "join":
                await teams.join(group, ref)
                model[group, ref] += 1
            elif model[group, ref]:
                await teams.leave(group, ref)
                model[group, ref] -= 1
            else:
                with pytest.raises(otp.NotJoined):
                    await teams.leave(group, ref)
            for each in ("g", "h"):
                expected = Counter({key[1]: n for key, n in model.items() if key[0] == each and n})
                assert expected == Counter(await teams.members(each))
        await scope.call(otp.Groups.statistics)  # behind all `Down` messages
        summed: Counter[tuple[str, kb.ActorRef[Member]]] = Counter()
        for change in await ear.call(Member.once_heard, 0):
            for ref in change.refs:
                summed[change.group, ref] += 1 if isinstance(change, otp.Joined) else -1
        assert +model == +summed
        assert not -summed

    run_virtual(scene)
