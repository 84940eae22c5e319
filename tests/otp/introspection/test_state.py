"""`get_state`, `replace_state`, `get_status`, `suspend`, `resume`, of every kind of process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from tests.otp.introspection.watched import Slotted, Till, Unprintable, doubled, failing, no_state
from tests.virtual import run_virtual

import koboshi as kb
from koboshi import otp


async def test_get_state_gives_the_attributes_after_what_was_sent_before() -> None:
    ref = await kb.start(Slotted)

    assert {"one": 1, "three": 3} == await otp.get_state(ref)
    till = await kb.start(Till)
    till.cast(Till.add, 5)
    assert 5 == (await otp.get_state(till))["total"]


async def test_get_state_gives_a_dict_of_its_own() -> None:
    ref = await kb.start(Slotted)
    (await otp.get_state(ref))["one"] = 100

    assert 4 == await ref.call(Slotted.sum)


async def test_an_actor_may_be_named() -> None:
    ref = await kb.start(Till, 3)
    kb.register(("till", 1), ref)

    assert 3 == (await otp.get_state(("till", 1)))["total"]
    with pytest.raises(kb.NotRunning):
        await otp.get_state("nobody")
    number: Any = 5
    with pytest.raises(kb.NotRunning):
        await otp.get_state(number)
    mistakes: list[Any] = [["till"], None, Till, Till(3)]
    for nonsense in mistakes:
        with pytest.raises(kb.UsageError, match=r"expected a ref or a registered name .*; got "):
            await otp.get_state(nonsense)


async def test_replace_state_goes_on_with_what_the_function_returns_and_gives_it_back() -> None:
    ref = await kb.start(Slotted)

    assert {"one": 1, "two": 2, "three": 30} == await otp.replace_state(
        ref, lambda state: state | {"two": 2, "three": 30}
    )
    assert 31 == await ref.call(Slotted.sum)
    assert {"one": 5, "three": 0} == await otp.replace_state(ref, lambda _: {"one": 5, "three": 0})
    assert 5 == await ref.call(Slotted.sum)


async def test_rule_32_a_replace_state_that_fails_leaves_state_and_actor() -> None:
    ref = await kb.start(Till, 3)
    with pytest.raises(KeyError, match="half way"):
        await otp.replace_state(ref, failing)
    with pytest.raises(kb.UsageError, match=r"the state of a Till is a dict.*got None"):
        await otp.replace_state(ref, no_state)

    def end(error: BaseException) -> Any:
        raise error

    for error in (SystemExit(3), kb.Stop(), asyncio.CancelledError()):
        with pytest.raises(kb.UsageError, match="and ran in another process") as caught:
            await otp.replace_state(ref, lambda _, error=error: end(error))  # type: ignore[misc]
        assert error is caught.value.__cause__

    async def coroutine(state: Any) -> Any:
        return state

    with pytest.raises(kb.UsageError, match="takes a plain function"):
        await otp.replace_state(ref, coroutine)
    nonsense: Any = "function"
    with pytest.raises(kb.UsageError, match="fn takes a function, got 'function'"):
        await otp.replace_state(ref, nonsense)

    assert 4 == await ref.call(Till.add, 1)


async def test_rule_31_a_suspended_actor_queues_in_order_and_is_looked_into() -> None:
    ref = await kb.start(Till)
    await otp.suspend(ref)
    await otp.suspend(ref)
    for number in range(3):
        ref.cast(Till.remember, number)
    assert [] == (await otp.get_state(ref))["seen"]
    assert 20 == (await otp.replace_state(ref, lambda state: state | {"total": 20}))["total"]
    status = await otp.get_status(ref)
    assert (True, 3) == (status.suspended, status.mailbox)

    await otp.resume(ref)
    await otp.resume(ref)
    assert [0, 1, 2] == (await otp.get_state(ref))["seen"]
    assert 21 == await ref.call(Till.add, 1)


def test_rule_31_calls_to_a_suspended_actor_time_out_at_the_caller() -> None:
    async def main() -> None:
        ref = await kb.start(Till)
        await otp.suspend(ref)
        with pytest.raises(kb.CallTimeout):
            await ref.within(3).call(Till.add, 1)
        await otp.resume(ref)

        assert 0 == (await otp.get_state(ref))["total"]

    run_virtual(main)


async def test_suspend_lets_what_was_sent_before_be_handled() -> None:
    ref = await kb.start(Till)
    for number in range(100):
        ref.cast(Till.remember, number)
    await otp.suspend(ref)
    ref.cast(Till.remember, "late")

    assert list(range(100)) == (await otp.get_state(ref))["seen"]


async def test_an_actor_that_waits_in_a_handler_is_served_when_that_is_over() -> None:
    ref = await kb.start(Till)
    held = asyncio.ensure_future(ref.call(Till.add_slowly, 1))
    await ref._cell.actor.entered.wait()
    asked = asyncio.ensure_future(otp.get_state(ref))
    suspended = asyncio.ensure_future(otp.suspend(ref))
    await asyncio.sleep(0)
    ref.cast(Till.add, 1)
    assert not asked.done()
    ref._cell.actor.gate.set()

    assert 1 == (await asked)["total"]
    assert 1 == await held
    await suspended
    assert 1 == (await otp.get_state(ref))["total"]


async def test_get_status_shows_the_state_as_the_actor_wants_it_shown() -> None:
    async with kb.Supervisor(kb.child(Till, 4).options(name="till")) as tree:
        ref = tree.ref(Till, "Till")
        await ref.call(Till.add, 1)
        await otp.log(ref)
        status = await otp.get_status(ref)

        assert {"total": 5, "secret": "***"} == status.state
        assert ("supervisor/Till", 7, False, 1, ("till",), "supervisor", ("log of 10",)) == (
            status.label,
            status.version,
            status.suspended,
            status.handled,
            status.names,
            status.parent,
            status.looked_at_by,
        )
        assert status.actor_class.endswith("watched.Till")
        assert status.ref.alive


async def test_get_status_without_a_format_status_gives_the_attributes() -> None:
    status = await otp.get_status(await kb.start(Slotted))

    assert {"one": 1, "three": 3} == status.state
    assert (None, None, ()) == (status.version, status.parent, status.names)


async def test_a_format_status_that_fails_is_the_callers_error() -> None:
    ref = await kb.start(Unprintable)
    with pytest.raises(RuntimeError, match="not now"):
        await otp.get_status(ref)

    assert 1 == await ref.call(Unprintable.echo, 1)


async def test_a_supervisors_state_is_its_children_and_cannot_be_replaced() -> None:
    async with kb.Supervisor(kb.child(Till)) as tree:
        assert {"Till": "running"} == await otp.get_state(tree.me)
        assert {"Till": "running"} == (await otp.get_status(tree.me)).state
        with pytest.raises(kb.UsageError, match="the state of supervisor is its children"):
            await otp.replace_state(tree.me, lambda state: state)
        await otp.suspend(tree.me)
        assert {"Till": "running"} == await otp.get_state(tree.me)
        await otp.resume(tree.me)

        assert 1 == (await tree.count_children()).active


async def test_a_bare_process_has_no_state_to_look_into() -> None:
    async def body() -> None:
        await kb.receive()

    ref = kb.spawn(body)
    for ask in (otp.get_state, otp.get_status, otp.suspend, otp.trace, otp.log):
        with pytest.raises(kb.UsageError, match="is a bare process"):
            await ask(ref)
    ref.kill()


async def test_only_the_thread_of_the_loop_may_ask() -> None:
    ref = await kb.start(Till)
    caught: list[BaseException] = []

    def elsewhere() -> None:
        coro = otp.get_state(ref)
        try:
            coro.send(None)
        except BaseException as error:
            caught.append(error)
        coro.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()

    assert [kb.WrongThread] == [type(error) for error in caught]


async def test_a_module_level_function_replaces_state() -> None:
    ref = await kb.start(Till, 4)

    assert 8 == (await otp.replace_state(ref, doubled))["total"]
