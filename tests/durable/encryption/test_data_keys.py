"""Each actor has one data key, whoever makes it and whatever happens at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.durable.another import another_program
from tests.durable.changes import until
from tests.durable.encryption.household import SECRET, Diary, Errand, Household, Index, Notes
from tests.durable.encryption.walk import keys, make_earlier, walk

import koboshi as kb
from koboshi.durable.actors._actor_sealer import ActorSealer
from koboshi.durable.actors._claim import Claim
from koboshi.durable.actors._data_key import data_keys, made_keys
from koboshi.durable.actors._identity import Identity
from koboshi.durable.actors._rotation import rotate
from koboshi.durable.actors._write import Write
from koboshi.durable.stores import Session
from koboshi.durable.stores._hosts import ForgetHosts
from koboshi.durable.stores._tables import ACTOR, DATA_KEY

OLD, NEW = b"o" * 32, b"n" * 32
ANN = Identity("here", "Account", "ann")
KEY = ("system_name", "actor_type", "actor_key")


def ring(*names: str, **options: Any) -> kb.KeyRing:
    known = {"old": OLD, "new": NEW}
    return kb.KeyRing({name: known[name] for name in names}, current=names[0], **options)


# -- what was stored before there were data keys ---------------------------------------------------


async def earlier_and_read(url: str) -> None:
    home = Household(url, ring("old"))
    async with home.tree():
        await home.live()
    await make_earlier(url, ring("old"))
    home = Household(url, ring("old"))
    async with home.tree():
        await home.check()


async def test_what_the_ring_has_sealed_before_there_were_data_keys_is_read(url: str) -> None:
    await earlier_and_read(url)


async def test_what_the_ring_has_sealed_before_there_were_data_keys_is_read_on_postgres(
    postgres_url: str,
) -> None:
    await earlier_and_read(postgres_url)


async def test_what_the_ring_has_sealed_before_there_were_data_keys_is_read_on_mariadb(
    mariadb_url: str,
) -> None:
    await earlier_and_read(mariadb_url)


@pytest.mark.parametrize("names", [("old",), ("new", "old")], ids=["the same key", "another key"])
@pytest.mark.parametrize("was", ["sealed", "plain"])
async def test_a_rotation_gives_each_actor_its_data_key_and_seals_all_that_it_has_stored(
    url: str, was: str, names: tuple[str, ...]
) -> None:
    home = Household(url, ring("old") if was == "sealed" else None)
    async with home.tree():
        await home.live()
    if was == "sealed":
        await make_earlier(url, ring("old"))
    home = Household(url, ring(*names))
    kinds = home.diaries, home.notes, home.index, home.locks, home.errands
    async with home.tree():
        for kind in kinds:
            rotated = await kind.rotate_keys(portion=2)
            assert (0, ()) == rotated[1:]
            assert rotated.sealed > 0
            assert {names[0]} >= set(await kind.keys_in_use())
            assert (0, 0, ()) == await kind.rotate_keys()
    async with another_program(url) as store:
        values, found = await store.read(lambda session: (walk(session), keys(session)))
    assert {each.who for each in values if each.is_own} == set(found)
    for each in values:
        assert each.is_own == each.is_by_data_key
    home = Household(url, ring(names[0], allow_plain=False))
    async with home.tree():
        await home.check()


async def rotated_beside_a_running_program(url: str) -> None:
    names = [f"k{number:02}" for number in range(60)]
    made = kb.durable(Diary, store=url, keys=ring("old"), history=True)
    async with kb.Supervisor(made.child()):
        await asyncio.gather(*(made[key].request("r").call(Diary.add, "one") for key in names))
    await make_earlier(url, ring("old"))
    both = ring("new", "old")
    made = kb.durable(Diary, store=url, keys=both, history=True)
    async with kb.Supervisor(made.child()), another_program(url) as other:
        # Half of them are awake before, and the others are woken meanwhile.
        await asyncio.gather(*(made[key].call(Diary.lines) for key in names[::2]))
        rotating = asyncio.ensure_future(rotate(other, both, "default", "Diary", 7))
        await asyncio.gather(*(made[key].call(Diary.add, "two") for key in names))
        assert (0, ()) == (await rotating)[1:]
        assert ["one"] * 60 == await asyncio.gather(
            *(made[key].request("r").call(Diary.add, "one") for key in names)
        )
        assert () == (await rotate(other, both, "default", "Diary", 7)).problems
        assert {"new": 60} == await made.keys_in_use()
    made = kb.durable(Diary, store=url, keys=ring("new"), history=True)
    async with kb.Supervisor(made.child()):
        for key in names:
            assert ["one", "two"] == await made[key].call(Diary.lines) == await made[key].as_of(2)


async def test_a_rotation_beside_running_actors_costs_no_turn_on_postgres(postgres_url: str) -> None:
    await rotated_beside_a_running_program(postgres_url)


async def test_a_rotation_beside_running_actors_costs_no_turn_on_mariadb(mariadb_url: str) -> None:
    await rotated_beside_a_running_program(mariadb_url)


# -- two at the same moment ------------------------------------------------------------------------


class Late:
    """A session that says when it is about to add a data key, having seen that there is none."""

    def __init__(self, session: Session, before: asyncio.Event) -> None:
        self._session = session
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def insert(self, *args: Any, **kwargs: Any) -> int:
        self._before.set()
        return self._session.insert(*args, **kwargs)


async def made_twice(url: str) -> None:
    actors: dict[Identity, tuple[int, str | None]] = {ANN: (1, "old")}
    made, looked = asyncio.Event(), asyncio.Event()

    def first(session: Session) -> dict[Identity, bytes]:
        found = made_keys(session, ring("old"), actors)
        made.set()
        while not looked.is_set():  # each look gives the other program its turn
            session.lookup(ACTOR, ("revision",), KEY, [ANN])
        return found

    def second(session: Session) -> dict[Identity, bytes]:
        late: Any = Late(session, looked)
        return made_keys(late, ring("new", "old"), actors)

    async with another_program(url) as one, another_program(url) as other:
        making = asyncio.ensure_future(one.change(first))
        await made.wait()
        taken = await other.change(second)
        assert taken == await making == await one.read(lambda session: data_keys(session, [ANN]))
        assert [ANN] == list(taken)


async def test_of_two_that_make_a_data_key_at_the_same_moment_one_takes_the_others_on_postgres(
    postgres_url: str,
) -> None:
    await made_twice(postgres_url)


async def test_of_two_that_make_a_data_key_at_the_same_moment_one_takes_the_others_on_mariadb(
    mariadb_url: str,
) -> None:
    await made_twice(mariadb_url)


class Keeper:
    """Makes a write that stores some bytes."""

    def __init__(self, state: bytes) -> None:
        self._state = state

    def stored(self, _: Write) -> tuple[Any, ...]:
        return self._state, 1, "json", "", 1

    def committed(self, write: Write, error: Exception | None) -> None:
        pass


async def first_written_twice(url: str) -> None:
    names = ring("old")

    def write(token: bytes, key: bytes) -> Write:
        made = Write(ANN, token, 0, Keeper(key), {})
        made.after = 1
        made.data_key = names.wrapped(ANN, key)
        return made

    async with another_program(url) as old, another_program(url) as new:
        first = await old.run(Claim(ANN, old.host, "json", 1, None, names))
        await new.run(ForgetHosts([old.host]))  # it is taken for lost, and goes on
        second = await new.run(Claim(ANN, new.host, "json", 1, None, names))
        assert first.token is not None
        assert second.token is not None
        assert first.data_key is second.data_key is None
        winner, loser = write(second.token, b"w" * 32), write(first.token, b"l" * 32)
        outcomes = await asyncio.gather(new.run(winner), old.run(loser), return_exceptions=True)
        assert isinstance(outcomes[1], kb.Fenced)
        stored = (await new.read(lambda session: data_keys(session, [ANN])))[ANN]
        assert b"w" * 32 == names.unwrapped(ANN, stored)


async def test_of_two_first_writes_only_the_committed_one_has_its_data_key_stored_on_postgres(
    postgres_url: str,
) -> None:
    await first_written_twice(postgres_url)


async def test_of_two_first_writes_only_the_committed_one_has_its_data_key_stored_on_mariadb(
    mariadb_url: str,
) -> None:
    await first_written_twice(mariadb_url)


async def test_a_data_key_that_a_rotation_has_left_of_an_erased_actor_is_no_hindrance(url: str) -> None:
    made = kb.durable(Diary, store=url, keys=ring("new", "old"))
    async with kb.Supervisor(made.child()), another_program(url) as other:
        assert [] == await made["a"].call(Diary.lines)
        left = Identity("default", "Diary", "a")
        await other.change(
            lambda session: session.insert(
                DATA_KEY, (*KEY, "key_id", "wrapped"), [(*left, *ring("old").wrapped(left, b"x" * 32))]
            )
        )
        await made["a"].call(Diary.add, "one")
        assert {"new": 1} == await made.keys_in_use()
    made = kb.durable(Diary, store=url, keys=ring("new"))
    async with kb.Supervisor(made.child()):
        assert ["one"] == await made["a"].call(Diary.lines)


# -- whose data key --------------------------------------------------------------------------------


async def forked_and_erased(url: str) -> None:
    home = Household(url, ring("old"))
    async with home.tree():
        await home.diaries["a"].call(Diary.add, SECRET)
        for _ in range(3):
            await home.notes["n"].call(Notes.write, SECRET)
        assert 1 == await home.diaries["a"].fork("a2")
        assert 3 == await home.notes["n"].fork("n2")
        await home.diaries["a2"].call(Diary.add, "and more")
        await home.diaries["a"].erase()
        await home.notes["n"].erase()
    home = Household(url, ring("old"))
    async with home.tree():
        assert [SECRET, "and more"] == await home.diaries["a2"].call(Diary.lines)
        assert [SECRET] == await home.diaries["a2"].as_of(1)
        assert [SECRET] * 3 == await home.notes["n2"].call(Notes.lines)
        assert 3 == len(await home.notes["n2"].history())
        await home.index.wait_for(home.notes["n2"])
        assert [SECRET] * 6 == await home.index.call(Index.lines)


async def test_a_fork_has_a_data_key_of_its_own_and_outlives_what_it_was_made_from(url: str) -> None:
    await forked_and_erased(url)
    async with another_program(url) as store:
        values, found = await store.read(lambda session: (walk(session), keys(session)))
    assert {"a2", "n2", "live"} == {who.key for who in found}
    assert all(each.is_by_data_key for each in values)


async def test_a_fork_has_a_data_key_of_its_own_on_postgres(postgres_url: str) -> None:
    await forked_and_erased(postgres_url)


async def test_a_fork_has_a_data_key_of_its_own_on_mariadb(mariadb_url: str) -> None:
    await forked_and_erased(mariadb_url)


async def test_a_projection_is_made_again_from_events_of_many_data_keys_and_keeps_its_own(url: str) -> None:
    home = Household(url, ring("old"))
    async with home.tree():
        for key in "abc":
            await home.notes[key].call(Notes.write, key)
        await home.index.wait_for()
        async with another_program(url) as store:
            before = await store.read(keys)
        await home.index.rebuild()
        assert ["a", "b", "c"] == sorted(await home.index.call(Index.lines))
        async with another_program(url) as store:
            assert before == await store.read(keys)
    await make_earlier(url, ring("old"))
    home = Household(url, ring("old"))
    async with home.tree():
        await home.index.rebuild()
        assert ["a", "b", "c"] == sorted(await home.index.call(Index.lines))


async def test_an_actor_that_has_stored_nothing_has_no_data_key(url: str) -> None:
    made = kb.durable(Diary, store=url, keys=ring("old"), deactivate_after=0.01)
    pooled = kb.durable(Diary, store=url, keys=ring("old"), type="Pooled", pooled=2)
    loose = kb.durable(Diary, store=url, keys=ring("old"), type="Loose", durability="memory")
    late = kb.durable(Diary, store=url, keys=ring("old"), type="Late", durability="snapshot")
    async with kb.Supervisor(made.child(), pooled.child(), loose.child(), late.child()):
        assert [] == await made["a"].call(Diary.lines)
        await loose["a"].call(Diary.add, "one")
        await late["a"].call(Diary.add, "one")
        await pooled.any.call(Diary.send_to, made["b"], "two")
        await until(lambda: made.statistics().delivered, made)
    async with another_program(url) as store:
        found = await store.read(keys)
    assert {("Diary", "b"), ("Late", "a")} == {who[1:] for who in found}
    late = kb.durable(Diary, store=url, keys=ring("old"), type="Late", durability="snapshot")
    async with kb.Supervisor(late.child()):
        assert ["one"] == await late["a"].call(Diary.lines)


async def test_a_reminder_is_sealed_with_the_data_key_until_it_is_handled(url: str) -> None:
    made = kb.durable(Diary, store=url, keys=ring("old"), max_attempts=1)
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.fail_soon, SECRET)
        await until(lambda: made.statistics().dead_letters, made)
    async with another_program(url) as store:
        values, found = await store.read(lambda session: (walk(session), keys(session)))
    [message] = [each for each in values if (each.table, each.what) == ("kb_outbox", "message")]
    assert message.is_by_data_key
    assert SECRET.encode() in message.open(ring("old"), found)
    made = kb.durable(Diary, store=url, keys=ring("new", "old"))
    async with kb.Supervisor(made.child()):
        await made["a"].call(Diary.later, SECRET, 0.0)
        await until(lambda: made.statistics().delivered, made)
        assert [SECRET] == await made["a"].call(Diary.lines)
        assert () == (await made.rotate_keys()).problems
        assert {"new"} == set(await made.keys_in_use())


async def test_what_was_asked_is_compared_with_what_the_data_key_has_sealed(url: str) -> None:
    for _ in range(2):
        made = kb.durable(Diary, store=url, keys=ring("old"))
        async with kb.Supervisor(made.child()):
            ref = made["a"].request("r")
            assert SECRET == await ref.call(Diary.add, SECRET)
            await ref.put(Diary.add, SECRET)
            for ask in (ref.call(Diary.add, "another"), ref.put(Diary.add, "another")):
                with pytest.raises(kb.RequestMismatch):
                    await ask
            assert [SECRET] == await made["a"].call(Diary.lines)


async def test_what_a_saga_that_sleeps_waits_for_is_read_from_its_sealed_journal(url: str) -> None:
    errands = kb.sagas(Errand, store=url, keys=ring("old"), deactivate_after=0.05)
    async with kb.Supervisor(errands.child()):
        errand = await errands.start(SECRET, id="e")

        async def asleep() -> tuple[str, ...]:
            waiting = (await errand.status()).waiting
            return () if errands.statistics().active else waiting

        awake = await until(asleep, errands)
        assert awake == (await errand.status()).waiting
        await errand.signal("echo", SECRET)
        assert SECRET == await errand.result(5.0)


WHO = Identity("s", "t", "k")
WRAPPED = ring("old").wrapped(WHO, b"d" * 32)[1]


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20))
def test_what_a_data_key_has_sealed_opens_in_its_own_place_only(blob: bytes, number: str) -> None:
    sealer = ActorSealer(ring("new", "old"), WHO, WRAPPED)
    sealed, key_id = sealer.seal(WHO, "state", number, blob)
    assert ("", blob) == (key_id, sealer.open(WHO, "state", number, sealed))
    for who, what, other in (
        (Identity("S", "t", "k"), "state", number),
        (Identity("s", "t", "K"), "state", number),
        (WHO, "event", number),
        (WHO, "state", number + "0"),
    ):
        with pytest.raises(kb.Corrupted, match="does not open with its data key"):
            sealer.open(who, what, other, sealed)
    with pytest.raises(kb.Corrupted, match="cut off"):
        sealer.open(WHO, "state", number, sealed[:30])
    with pytest.raises(kb.Corrupted, match="of another row"):
        ring("old").open(WHO, "state", number, sealed)
    with pytest.raises(kb.WrongKey, match="another data key"):
        ActorSealer(ring("old"), WHO, None, is_new=True).open(WHO, "state", number, sealed)
