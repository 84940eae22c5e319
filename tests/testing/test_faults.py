"""Faults on purpose: they act where they are meant to, as often as they are meant to, and leave no trace."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import koboshi as kb
from koboshi import testing


class Counter(kb.Actor):
    def __init__(self) -> None:
        self.value = 0

    @kb.message
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    async def add_later(self, n: int) -> int:
        self.value += n
        return self.value

    @kb.message
    def add_deferred(self, n: int) -> None:
        self.value += n
        kb.defer().send(self.value)

    @kb.message
    def read(self) -> int:
        return self.value


class Special(Counter):
    pass


@pytest.fixture(autouse=True)
def entries_are_as_before() -> Iterator[None]:
    before = [entry.fn for cls in (Counter, Special) for entry in cls._kb_info.protocol.values()]
    yield
    after = [entry.fn for cls in (Counter, Special) for entry in cls._kb_info.protocol.values()]
    assert before == after


async def test_an_actor_crashes_at_the_nth_message_and_its_supervisor_brings_it_back() -> None:
    async with kb.Supervisor(kb.child(Counter).options(id="it")) as tree:
        ref = tree.ref(Counter, "it")
        with testing.crash_on(ref, Counter.add, nth=3) as fault:
            assert 1 == await ref.call(Counter.add, 1)
            assert 2 == await ref.call(Counter.add, 1)
            assert 2 == await ref.call(Counter.read)
            with pytest.raises(kb.ActorExited) as caught:
                await ref.call(Counter.add, 1)
            await tree.wait_ready()
            assert 1 == await ref.call(Counter.add, 1)

        assert (4, 1) == (fault.seen, fault.fired)
        assert isinstance(caught.value.reason, kb.Crashed)
        assert isinstance(caught.value.reason.error, testing.InjectedCrash)


async def test_the_error_may_be_ones_own_and_async_handlers_crash_as_well() -> None:
    ref = await kb.start(Counter)
    with testing.crash_on(ref, Counter.add_later, error=OSError("disk")), pytest.raises(kb.ActorExited):
        await ref.call(Counter.add_later, 1)
    reason = await ref.wait_exit()

    assert isinstance(reason, kb.Crashed)
    assert "disk" == str(reason.error)


async def test_a_fault_of_a_ref_leaves_other_actors_alone() -> None:
    one, two = await kb.start(Counter), await kb.start(Counter)
    with testing.crash_on(one, Counter.add) as fault:
        assert 1 == await two.call(Counter.add, 1)
        assert 0 == fault.seen
        one.cast(Counter.add, 1)
        await testing.wait_idle()

    assert (False, True) == (one.alive, two.alive)
    await two.stop()


async def test_a_fault_of_a_class_counts_all_its_actors_and_those_of_subclasses() -> None:
    one, two = await kb.start(Counter), await kb.start(Special)
    with testing.crash_on(Counter, Counter.add, nth=2) as fault:
        assert 1 == await one.call(Counter.add, 1)
        with pytest.raises(kb.ActorExited):
            await two.call(Counter.add, 1)

    assert 2 == fault.seen
    await one.stop()


async def test_crash_after_counts_messages_of_any_kind() -> None:
    ref = await kb.start(Counter)
    with testing.crash_after(ref, 2):
        await ref.call(Counter.add, 1)
        await ref.call(Counter.read)
        with pytest.raises(kb.ActorExited):
            await ref.call(Counter.read)


async def test_a_killed_actor_does_not_run_the_message() -> None:
    ref = await kb.start(Counter)
    actor = ref._cell.actor
    with testing.kill_on(ref, Counter.add, nth=2):
        await ref.call(Counter.add, 1)
        with pytest.raises(kb.ActorExited):
            await ref.call(Counter.add, 1)

    assert kb.Killed() == await ref.wait_exit()
    assert 1 == actor.value


@pytest.mark.parametrize("message", [Counter.add, Counter.add_later], ids=["plain", "async"])
@testing.virtual_time()
async def test_a_reply_is_held_back_and_the_message_is_not(
    message: kb.Message[Counter, [int], int, object],
) -> None:
    ref = await kb.start(Counter)
    loop = testing.clock()
    with testing.delay_replies(ref, message, 3.0) as fault:
        call = asyncio.ensure_future(ref.call(message, 1))
        await testing.wait_idle()
        assert 1 == await ref.call(Counter.read)
        assert 1 == await call
        assert 1003.0 == loop.time()
        with pytest.raises(kb.CallTimeout):
            await ref.within(1.0).call(message, 1)

    assert 2 == fault.fired
    await ref.stop()


@testing.virtual_time()
async def test_a_reply_that_the_handler_defers_is_its_own() -> None:
    ref = await kb.start(Counter)
    with testing.delay_replies(ref, Counter.add_deferred, 3.0) as fault:
        assert 1 == await ref.call(Counter.add_deferred, 1)  # type: ignore[func-returns-value]
        ref.cast(Counter.add_deferred, 1)
        assert 2 == await ref.call(Counter.read)

    assert (2, 0, 1000.0) == (fault.seen, fault.fired, testing.clock().time())
    await ref.stop()


async def test_a_full_mailbox_refuses_and_keeps_what_it_had() -> None:
    ref = await kb.start(Counter)
    ref.cast(Counter.add, 1)
    with testing.full_mailbox(ref):
        with pytest.raises(kb.MailboxFull):
            ref.cast(Counter.add, 10)
        with pytest.raises(kb.MailboxFull):
            await ref.call(Counter.add, 10)
        sending = asyncio.ensure_future(ref.send(Counter.add, 100))
        await testing.wait_idle()
        assert not sending.done()
    await sending

    assert 101 == await ref.call(Counter.read)
    await ref.stop()


async def test_an_idle_actor_with_a_full_mailbox_refuses_too() -> None:
    ref = await kb.start(Counter)
    with testing.full_mailbox(ref), pytest.raises(kb.MailboxFull):
        await ref.call(Counter.read)

    assert 0 == await ref.call(Counter.read)
    await ref.stop()


@pytest.mark.slow
async def test_the_process_of_a_node_dies_and_both_come_back() -> None:
    children = (kb.node("n1"), kb.child(Counter).options(id="far", on="n1"))
    async with kb.Supervisor(*children, strategy="rest_for_one") as tree:
        node = tree.ref(kb.WorkerNode, "n1")
        far = tree.ref(Counter, "far")
        assert 1 == await far.call(Counter.add, 1)
        with pytest.raises(kb.UsageError, match="lives in another process"), testing.full_mailbox(far):
            pass
        async with await testing.Probe.start() as probe:
            await probe.monitor(far)
            pid = await testing.kill_process(node)
            down = await probe.expect_down(far, kb.NoConnection, timeout=10)
            assert "n1" == down.reason.node  # type: ignore[attr-defined]
        await tree.wait_ready()

        assert 1 == await far.call(Counter.add, 1)
        assert pid != (await node.call(kb.WorkerNode.statistics)).pid


async def test_faults_may_be_closed_in_any_order_and_none_stays_behind() -> None:
    entry = Counter._kb_info.protocol[Counter.read]
    before = entry.fn
    first, second, third = ExitStack(), ExitStack(), ExitStack()
    first.enter_context(testing.crash_on(Counter, Counter.read))
    ref = await kb.start(Counter)
    counted = second.enter_context(testing.crash_on(ref, Counter.read, nth=99))
    last = third.enter_context(testing.crash_on(Counter, Counter.read, nth=99))
    first.close()
    assert 0 == await ref.call(Counter.read)
    third.close()
    assert 0 == await ref.call(Counter.read)
    assert (2, 1) == (counted.seen, last.seen)
    second.close()

    assert 0 == await ref.call(Counter.read)
    assert (2, 1) == (counted.seen, last.seen)
    assert before is entry.fn


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_a_mailbox_is_full_until_the_last_of_its_faults_is_closed(order: tuple[int, int]) -> None:
    ref = await kb.start(Counter)
    limit = ref._target().limit
    stacks = ExitStack(), ExitStack()
    for stack in stacks:
        stack.enter_context(testing.full_mailbox(ref))
    stacks[order[0]].close()
    with pytest.raises(kb.MailboxFull):
        await ref.within(0.05).call(Counter.read)
    stacks[order[1]].close()

    assert limit == ref._target().limit
    assert 0 == await ref.call(Counter.read)


async def test_options_are_checked_when_given() -> None:
    ref = await kb.start(Counter)
    bad = [
        (lambda: testing.crash_on(ref, Counter.add, nth=0), "nth must be a whole number >= 1, got 0"),
        (lambda: testing.crash_on(ref, print), "message must be a method marked with @message"),
        (lambda: testing.crash_on(int, Counter.add), "target must be a ref or a subclass"),
        (lambda: testing.crash_after(ref, -1), "n must be a whole number >= 0, got -1"),
        (lambda: testing.delay_replies(ref, Counter.add, -1), "seconds must be >= 0, got -1"),
        (lambda: testing.delay_replies(ref, Counter.add, "1"), "seconds must be >= 0, got '1'"),  # type: ignore[arg-type]
        (lambda: testing.crash_on(ref, Counter.add, error=3), "error must be an exception"),  # type: ignore[arg-type]
    ]
    for make, text in bad:
        with pytest.raises(kb.UsageError, match=text), make():
            pass
    with pytest.raises(kb.UsageError, match=r"expected a ref to a node, as of tree\.ref\(.*, got 'n1'"):
        await testing.kill_process("n1")  # type: ignore[arg-type]
    await ref.stop()
    with pytest.raises(kb.UsageError, match="nobody is at"), testing.full_mailbox(ref):
        pass


def test_its_error_survives_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(testing.InjectedCrash("Counter.add", 2)))

    assert ("Counter.add", 2, "injected at message 2: Counter.add") == (error.message, error.nth, str(error))
