"""Routers: who gets a message under each strategy, what is tried again and what is not, limits."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.otp.routers.routees import Other, Worker
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp
from koboshi.otp.routers._routees import Routee
from koboshi.otp.routers._strategies import ConsistentHash
from koboshi.testing import wait_idle

Refs = list[kb.ActorRef[Worker]]


async def workers(names: str) -> Refs:
    return [await kb.start(Worker, name) for name in names]


async def end(ref: kb.ActorRef[Worker]) -> None:
    ref.kill()
    await ref.wait_exit()


async def test_round_robin_takes_one_after_the_other() -> None:
    router = otp.router(await workers("abc"))

    assert list("abcabc") == [await router.call(Worker.who) for _ in range(6)]


async def test_round_robin_passes_over_the_dead_and_keeps_its_order() -> None:
    refs = await workers("abc")
    router = otp.router(refs)
    await end(refs[1])

    assert list("acac") == [await router.call(Worker.who) for _ in range(4)]


async def test_random_is_the_same_row_for_the_same_seed() -> None:
    refs = await workers("abcd")
    one, two, other = (otp.router(refs, strategy="random", seed=seed) for seed in (7, 7, 8))
    rows = [[await each.call(Worker.who) for _ in range(40)] for each in (one, two, other)]

    assert rows[0] == rows[1] != rows[2]
    assert set("abcd") == set(rows[0])


async def test_random_gives_the_share_of_a_dead_one_to_all_others_alike() -> None:
    refs = await workers("abcd")
    router = otp.router(refs, strategy="random", seed=1)
    await end(refs[0])
    counted = Counter([await router.call(Worker.who) for _ in range(3000)])

    assert {"b", "c", "d"} == set(counted)
    assert all(850 < count < 1150 for count in counted.values())


async def test_least_busy_takes_the_one_with_the_fewest_calls_outstanding() -> None:
    refs = await workers("abc")
    router = otp.router(refs, strategy="least_busy")
    held = [asyncio.ensure_future(router.call(Worker.hold)) for _ in range(5)]
    await wait_idle()
    assert [2, 2, 1] == [each.outstanding for each in router.statistics().routees]

    assert "c" == await router.call(Worker.who)
    for ref in refs:
        ref.cast(Worker.let_go)
    await asyncio.gather(*held)
    assert [0, 0, 0] == [each.outstanding for each in router.statistics().routees]


async def test_least_busy_takes_turns_among_equals() -> None:
    router = otp.router(await workers("abc"), strategy="least_busy")

    assert list("abcabc") == [await router.call(Worker.who) for _ in range(6)]


async def test_smallest_mailbox_takes_the_one_with_the_least_mail() -> None:
    refs = await workers("abc")
    router = otp.router(refs, strategy="smallest_mailbox")
    for ref, mail in zip(refs, (3, 1, 2), strict=True):
        ref.suspend()
        for _ in range(mail):
            ref.cast(Worker.note, 0)
    router.cast(Worker.note, 1)
    router.cast(Worker.note, 2)
    router.cast(Worker.note, 3)
    for ref in refs:
        ref.resume()

    assert [[0, 0, 0], [0, 1, 3], [0, 0, 2]] == [await ref.call(Worker.noted) for ref in refs]


async def test_smallest_mailbox_counts_the_message_in_hand() -> None:
    class Sleeper(kb.Actor):
        @kb.message
        async def sleep(self, until: asyncio.Event) -> None:
            await until.wait()

        @kb.message
        def ping(self) -> kb.ActorRef[Sleeper]:
            return self.me

    refs = [await kb.start(Sleeper) for _ in range(2)]
    until = asyncio.Event()
    refs[0].cast(Sleeper.sleep, until)
    await wait_idle()
    router = otp.router(refs, strategy="smallest_mailbox")

    assert refs[1] == await router.call(Sleeper.ping)
    assert refs[1] == await router.call(Sleeper.ping)
    until.set()


# -- consistent hashing -----------------------------------------------------------------------------


async def test_consistent_hash_sends_one_key_to_one_routee() -> None:
    router = otp.router(await workers("abcd"), strategy="consistent_hash")
    homes = {key: await router.call(Worker.who, key) for key in range(100)}

    assert homes == {key: await router.call(Worker.who, key) for key in range(100)}
    assert set("abcd") == set(homes.values())


async def test_the_key_is_made_by_the_function_given() -> None:
    router = otp.router(
        await workers("abcd"), strategy="consistent_hash", key=lambda name: str(name).partition("/")[0]
    )

    assert 1 == len({await router.call(Worker.who, f"user/{n}") for n in range(50)})


async def test_the_same_keys_have_the_same_homes_in_another_run() -> None:
    router = otp.router(await workers("abcd"), strategy="consistent_hash")

    # Written down once: they follow from the ids 0 to 3 and nothing else.
    assert HOMES == "".join([await router.call(Worker.who, f"user-{n}") for n in range(12)])


HOMES = "bacbcdabbaab"


@settings(max_examples=20)
@given(st.integers(2, 12), st.integers(0, 2**32))
def test_a_resize_moves_about_k_of_n_keys_and_none_between_those_that_stay(count: int, salt: int) -> None:
    keys = [salt * 1000 + n for n in range(1000)]
    picks = ConsistentHash()
    ref: kb.ActorRef[Worker] = kb.ActorRef.__new__(kb.ActorRef)
    ref._within = 5.0
    routees = [Routee(n, ref) for n in range(count + 1)]

    def homes(among: list[Routee]) -> list[int]:
        found = [picks.pick(among, lambda _: True, lambda _: True, key) for key in keys]
        return [each.id for each in found if each is not None]

    before, after = homes(routees[:count]), homes(routees)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]

    assert {count} == set(moved)
    assert 0.6 * 1000 / (count + 1) - 20 < len(moved) < 1.4 * 1000 / (count + 1) + 20


async def test_the_keys_of_a_dead_one_go_to_the_others_and_come_back() -> None:
    async with kb.Supervisor(*(kb.child(Worker, name).options(id=name) for name in "abcd")) as tree:
        router = otp.router(tree, Worker, strategy="consistent_hash")
        before = {key: await router.call(Worker.who, key) for key in range(200)}
        await tree.terminate_child("b")
        without = {key: await router.call(Worker.who, key) for key in range(200)}
        await tree.restart_child("b")

        assert {"b"} == {before[key] for key in before if before[key] != without[key]}
        assert set("acd") == {without[key] for key in before if before[key] == "b"}
        assert before == {key: await router.call(Worker.who, key) for key in range(200)}


async def test_a_removed_routee_does_not_shift_the_keys_of_the_others() -> None:
    refs = await workers("abcd")
    router = otp.router(refs, strategy="consistent_hash")
    before = {key: await router.call(Worker.who, key) for key in range(200)}
    assert router.remove(refs[0])
    after = {key: await router.call(Worker.who, key) for key in range(200)}

    assert {"a"} == {before[key] for key in before if before[key] != after[key]}


# -- failures ----------------------------------------------------------------------------------------


async def test_a_call_that_never_began_goes_on_to_the_next_routee() -> None:
    refs = await workers("ab")
    router = otp.router(refs)
    refs[0].suspend()
    call = asyncio.ensure_future(router.call(Worker.who))
    await wait_idle()
    refs[0].kill()

    assert "b" == await call
    assert 1 == router.statistics().rerouted
    assert 0 == router.statistics().outstanding


async def test_a_call_that_may_have_been_executed_is_not_tried_again() -> None:
    refs = await workers("ab")
    router = otp.router(refs)

    with pytest.raises(kb.ActorExited) as caught:
        await router.call(Worker.crash)

    assert caught.value.maybe_executed
    assert [] == await refs[1].call(Worker.noted)
    assert 0 == router.statistics().outstanding


async def test_an_error_that_a_routee_passes_on_is_not_taken_for_its_own_absence() -> None:
    refs = await workers("ab")
    router = otp.router(refs)

    with pytest.raises(kb.NotRunning, match="somebody else"):
        await router.call(Worker.deny)

    assert [["deny"], []] == [await ref.call(Worker.noted) for ref in refs]


async def test_with_nobody_there_a_call_fails_at_once_and_a_cast_is_lost() -> None:
    refs = await workers("ab")
    router = otp.router(refs, limit=1)
    for ref in refs:
        await end(ref)

    with pytest.raises(kb.NotRunning, match=re.escape("<Router round_robin over 2 routees>")):
        await router.call(Worker.who)
    with pytest.raises(kb.NotRunning):
        await router.send(Worker.note, 1)
    router.cast(Worker.note, 1)


async def test_a_router_over_no_routees_is_allowed_and_says_so() -> None:
    router: otp.Router[Worker] = otp.router([])

    with pytest.raises(kb.NotRunning):
        await router.call(Worker.who)
    router.add((await workers("a"))[0])

    assert "a" == await router.call(Worker.who)


# -- a supervisor's children -------------------------------------------------------------------------


async def test_restarted_children_are_found_again() -> None:
    async with kb.Supervisor(
        *(kb.child(Worker, name).options(id=name) for name in "ab"), max_restarts=10
    ) as tree:
        router = otp.router(tree, Worker)
        with pytest.raises(kb.ActorExited):
            await router.call(Worker.crash)
        await tree.wait_ready()

        assert set("ab") == {await router.call(Worker.who) for _ in range(4)}


async def test_new_children_of_a_dynamic_supervisor_are_seen_and_stopped_ones_are_not() -> None:
    async with kb.DynamicSupervisor() as tree:
        router = otp.router(tree, Worker)
        a = await tree.start_child(kb.child(Worker, "a"))
        assert {"a"} == {await router.call(Worker.who) for _ in range(4)}
        await tree.start_child(kb.child(Worker, "b"))
        assert set("ab") == {await router.call(Worker.who) for _ in range(4)}
        await tree.terminate_child(a)

        assert {"b"} == {await router.call(Worker.who) for _ in range(4)}


async def test_children_of_other_classes_are_left_out() -> None:
    async with kb.Supervisor(kb.child(Other), kb.child(Worker, "a")) as tree:
        router = otp.router(tree, Worker)

        assert ["a", "a"] == [await router.call(Worker.who) for _ in range(2)]
        assert 1 == len(router.statistics().routees)


async def test_the_children_of_a_restarted_supervisor_are_found_again() -> None:
    inner = kb.child(kb.Supervisor, kb.child(Worker, "a")).options(id="inner")
    async with kb.Supervisor(inner) as tree:
        ref = tree.ref(kb.Supervisor, "inner")
        router = otp.router(ref, Worker)
        assert "a" == await router.call(Worker.who)
        ref.kill()
        await wait_idle()
        await tree.wait_ready()

        assert "a" == await router.call(Worker.who)


# -- to all ------------------------------------------------------------------------------------------


async def test_broadcast_casts_to_all_that_are_alive() -> None:
    refs = await workers("abc")
    router = otp.router(refs, strategy="broadcast")
    await end(refs[1])
    router.cast(Worker.note, 1)
    await router.send(Worker.note, 2)

    assert [[1, 2], [1, 2]] == [await ref.call(Worker.noted) for ref in (refs[0], refs[2])]


async def test_call_all_gives_replies_in_order_and_errors_in_place() -> None:
    refs = await workers("abc")
    router = otp.router(refs, strategy="broadcast")
    assert list("abc") == await router.call_all(Worker.who)

    failed = await router.call_all(Worker.crash)

    assert [kb.ActorExited] * 3 == [type(each) for each in failed]
    with pytest.raises(kb.UsageError, match="call_all"):
        await router.call(Worker.who)


async def test_scatter_gather_gives_the_first_success_and_drops_the_others() -> None:
    refs = await workers("abc")
    router = otp.router(refs, strategy="scatter_gather_first")
    call = asyncio.ensure_future(router.call(Worker.hold))
    await wait_idle()
    await end(refs[0])  # a failure is no success
    refs[2].cast(Worker.let_go)

    assert "c" == await call
    await wait_idle()
    assert 0 == router.statistics().outstanding
    refs[1].cast(Worker.let_go)  # nobody waits for it
    assert ["hold"] == await refs[1].call(Worker.noted)


async def test_scatter_gather_fails_when_all_have_failed() -> None:
    router = otp.router(await workers("ab"), strategy="scatter_gather_first")

    with pytest.raises(kb.ActorExited):
        await router.call(Worker.crash)
    with pytest.raises(kb.NotRunning):
        await router.call(Worker.who)


# -- limits ------------------------------------------------------------------------------------------


async def test_over_the_limit_a_call_waits_and_the_longest_waiting_is_next() -> None:
    refs = await workers("ab")
    router = otp.router(refs, limit=1)
    calls = [asyncio.ensure_future(router.call(Worker.hold)) for _ in range(4)]
    await wait_idle()
    assert (2, 2) == (router.statistics().outstanding, router.statistics().waiting)
    refs[1].cast(Worker.let_go)
    await wait_idle()
    assert "b" == await calls[1]
    assert (2, 1) == (router.statistics().outstanding, router.statistics().waiting)
    refs[1].cast(Worker.let_go)
    assert "b" == await calls[2]  # the third came before the fourth

    for ref in refs * 2:
        ref.cast(Worker.let_go)
        await wait_idle()
    assert ["a", "b"] == [await calls[0], await calls[3]]


async def test_a_place_handed_over_to_one_that_gives_up_goes_on_to_the_next() -> None:
    refs = await workers("a")
    router = otp.router(refs, limit=1)

    async def call_and_cancel_the_next() -> str:
        name = await router.call(Worker.hold)
        second.cancel()  # which has been given the place, and has not run since
        return name

    first = asyncio.ensure_future(call_and_cancel_the_next())
    await wait_idle()
    second, third = (asyncio.ensure_future(router.call(Worker.hold)) for _ in range(2))
    await wait_idle()
    refs[0].cast(Worker.let_go)
    assert "a" == await first
    await wait_idle()

    assert second.cancelled()
    assert (1, 0) == (router.statistics().outstanding, router.statistics().waiting)
    refs[0].cast(Worker.let_go)
    assert "a" == await third


async def test_limit_all_counts_all_routees() -> None:
    refs = await workers("ab")
    router = otp.router(refs, limit_all=1)
    calls = [asyncio.ensure_future(router.call(Worker.hold)) for _ in range(2)]
    await wait_idle()

    assert (1, 1) == (router.statistics().outstanding, router.statistics().waiting)
    with pytest.raises(kb.MailboxFull, match="places"):
        router.cast(Worker.note, 1)
    assert 1 == router.statistics().refused
    for ref in refs * 2:
        ref.cast(Worker.let_go)
        await wait_idle()
    assert ["a", "b"] == [await each for each in calls]


def test_a_caller_waits_for_a_place_within_its_deadline() -> None:
    async def main() -> None:
        router = otp.router(await workers("a"), limit=1)
        call = asyncio.ensure_future(router.within(None).call(Worker.hold))
        await wait_idle()
        began = asyncio.get_running_loop().time()

        with pytest.raises(kb.CallTimeout) as caught:
            await router.within(2.0).call(Worker.who)

        assert not caught.value.maybe_executed
        assert 2.0 == pytest.approx(asyncio.get_running_loop().time() - began)
        assert (0, 1) == (router.statistics().waiting, router.statistics().refused)
        call.cancel()

    run_virtual(main)


def test_waiting_and_working_share_one_deadline() -> None:
    async def main() -> None:
        refs = await workers("a")
        router = otp.router(refs, limit=1)
        call = asyncio.ensure_future(router.within(None).call(Worker.hold))
        await wait_idle()
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_later(1.5, refs[0].cast, Worker.let_go)

        with pytest.raises(kb.CallTimeout):
            await router.within(2.0).call(Worker.hold)

        assert 2.0 == pytest.approx(loop.time() - began)
        assert "a" == await call

    run_virtual(main)


async def test_when_the_last_routee_dies_those_that_wait_hear_of_it() -> None:
    refs = await workers("a")
    router = otp.router(refs, limit=1)
    calls = [asyncio.ensure_future(router.call(Worker.hold)) for _ in range(2)]
    await wait_idle()
    refs[0].kill()
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert [kb.ActorExited, kb.NotRunning] == [type(each) for each in errors]


async def test_a_caller_that_is_killed_gives_its_place_back() -> None:
    class Caller(kb.Actor):
        @kb.message
        async def go(self, router: otp.Router[Worker]) -> str:
            return await router.call(Worker.hold)

    refs = await workers("a")
    router = otp.router(refs, limit=1)
    callers = [await kb.start(Caller) for _ in range(2)]
    for caller in callers:
        caller.cast(Caller.go, router)
        await wait_idle()
    callers[1].kill()  # it waits for the place
    await callers[1].wait_exit()
    assert (1, 0) == (router.statistics().outstanding, router.statistics().waiting)
    callers[0].kill()  # it has it
    await callers[0].wait_exit()
    await wait_idle()

    assert (0, 0) == (router.statistics().outstanding, router.statistics().waiting)


async def test_under_consistent_hash_a_busy_routee_holds_up_its_own_keys_only() -> None:
    refs = await workers("ab")
    router = otp.router(refs, strategy="consistent_hash", limit=1)
    homes = {key: await router.call(Worker.who, key) for key in range(20)}
    a, b = (next(key for key in homes if homes[key] == name) for name in "ab")
    held = asyncio.ensure_future(router.call(Worker.hold, a))
    await wait_idle()
    waits = asyncio.ensure_future(router.call(Worker.who, a))
    await wait_idle()

    assert "b" == await router.call(Worker.who, b)
    assert not waits.done()
    refs[0].cast(Worker.let_go)
    assert ["a", "a"] == [await held, await waits]


# -- options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategy": "best"}, "strategy is one of 'round_robin'"),
        ({"limit": 0}, "limit takes a whole number >= 1, got 0"),
        ({"limit_all": True}, "limit_all takes a whole number >= 1, got True"),
        ({"seed": 1}, 'seed is for strategy="random"'),
        ({"key": len}, "key takes a function and strategy"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, object], told: str) -> None:
    with pytest.raises(kb.UsageError, match=re.escape(told)):
        otp.router([], **options)  # type: ignore[call-overload]


async def test_what_is_no_routee_is_refused() -> None:
    ref = (await workers("a"))[0]
    for wrong, told in (
        ((ref,), "put it in a list"),
        (([1],), "takes refs of actors, got 1"),
        ((7,), "takes refs, or a supervisor and a class, got 7"),
        (([ref], Worker), "a class goes with a supervisor"),
    ):
        with pytest.raises(kb.UsageError, match=re.escape(told)):
            otp.router(*wrong)
    router = otp.router([ref])
    with pytest.raises(kb.UsageError, match="has a routee 0 already"):
        router.add(ref, 0)
    with pytest.raises(kb.UsageError, match="a routee's id must be hashable"):
        router.add(ref, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [-1, float("nan"), "x", True])
async def test_the_deadline_of_a_router_is_seconds_or_none(seconds: object) -> None:
    router = otp.router([await kb.start(Worker, "a")])
    with pytest.raises(kb.UsageError, match="within takes seconds >= 0 or None, got"):
        router.within(seconds)  # type: ignore[arg-type]


def test_a_name_is_refused_and_not_taken_for_a_row_of_letters() -> None:
    with pytest.raises(kb.UsageError, match=r"'workers' is a name: look it up first"):
        otp.router("workers")  # type: ignore[arg-type]
