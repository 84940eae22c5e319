"""Mistakes of the calling program: each error names the thing and says what was expected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import koboshi as kb


class Counter(kb.Actor):
    """A correct actor."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    @kb.message
    def add(self, n: int, *, twice: bool = False) -> int:
        self.value += 2 * n if twice else n
        return self.value

    @kb.message
    async def read(self) -> int:
        return self.value

    def hidden(self) -> int:
        return self.value


class Other(kb.Actor):
    """Another one."""

    @kb.message
    def ping(self) -> None: ...


def function(n: int) -> int:
    """No message at all."""
    return n


anything: Any = Counter


LISTED = "the messages of Counter are: Counter.add, Counter.read"
MESSAGES: dict[str, tuple[Any, str]] = {
    "unmarked method": (
        Counter.hidden,
        f"Counter.hidden is not marked with @kb.message, so Counter cannot be sent it; {LISTED}",
    ),
    "another actor's message": (
        Other.ping,
        f"Other.ping is not a message of Counter; {LISTED}",
    ),
    "a name": (
        "add",
        f"messages are sent by reference: pass Counter.add, not the string 'add'; {LISTED}",
    ),
    "a bound method": (
        Counter().add,
        "Counter.add is bound to an instance; pass the message of the class, such as Counter.add",
    ),
    "a function": (function, "function is not marked with @kb.message"),
    "a value": (42, "42 is not marked with @kb.message"),
    "an unhashable value": ([1], "[1] is not marked with @kb.message"),
    "nothing": (None, "None is not marked with @kb.message"),
}

ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "too few": ((), {}, "missing a required argument: 'n'"),
    "too many": ((1, 2), {}, "too many positional arguments"),
    "unknown keyword": ((1,), {"thrice": True}, "got an unexpected keyword argument 'thrice'"),
    "keyword twice": ((1,), {"n": 2}, "multiple values for argument 'n'"),
}


async def sent(ref: kb.ActorRef[Any], way: str, message: Any, *args: Any, **kwargs: Any) -> None:
    """Send it in this way."""
    if way in ("call", "send"):
        await getattr(ref, way)(message, *args, **kwargs)
    elif way == "cast":
        ref.cast(message, *args, **kwargs)
    else:
        ref.send_after(1.0, message, *args, **kwargs)


@pytest.mark.parametrize("way", ["call", "cast", "send", "send_after"])
@pytest.mark.parametrize("mistake", MESSAGES)
async def test_what_is_no_message_is_refused_and_harms_nobody(mistake: str, way: str) -> None:
    message, text = MESSAGES[mistake]
    ref = await kb.start(Counter)

    with pytest.raises(kb.UsageError) as caught:
        await sent(ref, way, message, 1)

    assert str(caught.value).startswith(text)
    assert isinstance(caught.value, TypeError)
    assert 1 == await ref.call(Counter.add, 1)


@pytest.mark.parametrize("way", ["call", "cast", "send", "send_after"])
@pytest.mark.parametrize("mistake", ARGUMENTS)
async def test_arguments_that_do_not_fit_are_refused_at_the_sender(mistake: str, way: str) -> None:
    args, kwargs, text = ARGUMENTS[mistake]
    ref = await kb.start(Counter)

    with pytest.raises(kb.UsageError) as caught:
        await sent(ref, way, Counter.add, *args, **kwargs)

    assert "Counter.add(n: 'int', *, twice: 'bool' = False)" in str(caught.value)
    assert text in str(caught.value)
    assert 1 == await ref.call(Counter.add, 1)


async def test_a_mistake_inside_a_handler_is_the_senders_crash_and_not_the_receivers() -> None:
    class Wrong(kb.Actor):
        @kb.message
        def ask(self, other: kb.ActorRef[Any]) -> None:
            other.cast(Counter.add)  # type: ignore[call-arg]

    counter, wrong = await kb.start(Counter), await kb.start(Wrong)
    with pytest.raises(kb.ActorExited) as caught:
        await wrong.call(Wrong.ask, counter)

    assert isinstance(caught.value.__cause__, kb.UsageError)
    assert counter.alive


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (42, "expected a subclass of kb.Actor, got 42"),
        (function, "expected a subclass of kb.Actor, got <function function"),
        (dict, "expected a subclass of kb.Actor, got <class 'dict'>; write `class Name(kb.Actor): ...`"),
        (Counter(), "pass the class with its arguments rather than an instance"),
    ],
)
async def test_only_actor_classes_are_started(wrong: Any, text: str) -> None:
    with pytest.raises(kb.UsageError) as caught:
        await kb.start(wrong)

    assert text in str(caught.value)


async def test_a_constructor_with_wrong_arguments_is_a_start_error() -> None:
    with pytest.raises(kb.StartError, match="Counter") as caught:
        await kb.start(anything, 1, 2, 3)

    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("wrong", [42, function, dict, Counter(), "Counter", None])
def test_a_child_that_is_no_actor_is_refused(wrong: Any) -> None:
    with pytest.raises(kb.UsageError, match=r"a child is a subclass of kb\.Actor or an async def function"):
        kb.child(wrong)


def test_a_childs_arguments_are_checked_before_anything_starts() -> None:
    with pytest.raises(kb.UsageError, match=r"kb\.child\(Counter, \.\.\.\) got arguments that do not fit"):
        kb.child(anything, begin=3)


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "restart": (
        {"restart": "always"},
        "restart is one of 'permanent', 'transient', 'temporary'; got 'always'",
    ),
    "overflow": (
        {"overflow": "block"},
        "overflow is one of 'reject', 'drop_newest', 'drop_oldest', 'crash'; got 'block'",
    ),
    "on_give_up": ({"on_give_up": "cry"}, "on_give_up is one of 'escalate', 'park'; got 'cry'"),
    "shutdown": ({"shutdown": -1}, 'shutdown takes seconds >= 0, "kill" or "forever", got -1'),
    "start_timeout": ({"start_timeout": 0}, "start_timeout takes seconds > 0 or None, got 0"),
    "mailbox": ({"mailbox": 0}, "mailbox takes a whole number >= 1, got 0"),
    "mailbox type": ({"mailbox": 1.5}, "mailbox takes a whole number >= 1, got 1.5"),
    "significant": ({"significant": 1}, "significant takes True or False, got 1"),
    "backoff": (
        {"backoff": 3},
        "backoff takes kb.Backoff(min, max, factor, jitter, reset_after) or a tuple of its values, got 3",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_with_no_such_value_is_refused_with_what_it_takes(name: str) -> None:
    options, text = OPTIONS[name]
    with pytest.raises(kb.UsageError) as caught:
        kb.child(Counter).options(**options)

    assert text == str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="restrat"):
        kb.child(Counter).options(restrat="transient")  # type: ignore[call-arg]


async def test_a_supervisor_refuses_an_unknown_strategy_and_what_is_no_spec() -> None:
    with pytest.raises(kb.UsageError, match=r"strategy is one of 'one_for_one'.*got 'some_for_all'"):
        kb.Supervisor(strategy="some_for_all")  # type: ignore[arg-type]
    with pytest.raises(kb.UsageError, match="a supervisor takes child specs, got <class"):
        kb.Supervisor(anything)


def test_two_children_with_one_id_are_refused() -> None:
    with pytest.raises(kb.UsageError, match=r"two children have the id 'Counter'.*\.options\(id=\.\.\.\)"):
        kb.Supervisor(kb.child(Counter), kb.child(Counter))


async def test_a_duplicate_id_at_run_time_names_the_child_that_has_it() -> None:
    async with kb.Supervisor(kb.child(Counter)) as tree:
        with pytest.raises(kb.AlreadyStarted, match="'Counter'") as caught:
            await tree.start_child(kb.child(Counter))
        assert caught.value.child is not None
        assert 1 == await caught.value.child.call(Counter.add, 1)

        with pytest.raises(kb.ChildNotFound, match="no child 'Kounter'; its children are: 'Counter'"):
            tree.ref(Counter, "Kounter")
        with pytest.raises(kb.UsageError, match="the child 'Counter' is a Counter, not a Other"):
            tree.ref(Other, "Counter")


def generator(self: Any) -> Iterator[int]:
    yield 1


async def agenerator(self: Any) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (generator, "yields; a message answers once, with return"),
        (agenerator, "yields; a message answers once, with return"),
        (staticmethod(function), "leave staticmethod, classmethod and property away"),
        (classmethod(anything.hidden), "leave staticmethod, classmethod and property away"),
        (property(function), "leave staticmethod, classmethod and property away"),
        (42, "@message marks a method written with def or async def, got 42"),
        (len, "@message marks a method written with def or async def"),
        (kb.Actor.on_stop, "is called by the runtime, so it cannot be a message as well"),
    ],
)
def test_only_plain_and_async_methods_can_be_messages(wrong: Any, text: str) -> None:
    with pytest.raises(kb.UsageError) as caught:
        kb.message(wrong)

    assert text in str(caught.value)


@pytest.mark.parametrize("seconds", [-1, -0.5, float("nan"), "x", "1", True, [1.0]])
async def test_a_deadline_is_a_time_that_is_not_negative(seconds: Any) -> None:
    ref = await kb.start(Counter)
    with pytest.raises(kb.UsageError, match="within takes seconds >= 0 or None"):
        ref.within(seconds)


PROCESS_ONLY: dict[str, Callable[[], Any]] = {
    "me": kb.me,
    "trap_exits": kb.trap_exits,
    "alias": kb.alias,
    "defer": kb.defer,
    "time_left": kb.time_left,
    "register": lambda: kb.register("x"),
}


@pytest.mark.parametrize("name", PROCESS_ONLY)
async def test_what_only_a_process_can_do_says_so_outside_of_one(name: str) -> None:
    with pytest.raises(kb.NotInProcess) as caught:
        PROCESS_ONLY[name]()

    assert isinstance(caught.value, kb.UsageError)


async def test_receive_is_for_bare_processes() -> None:
    class Wrong(kb.Actor):
        @kb.message
        async def read(self) -> Any:
            return await kb.receive()

    wrong = await kb.start(Wrong)
    with pytest.raises(kb.ActorExited) as caught:
        await wrong.call(Wrong.read)
    assert "receive is for processes made with kb.spawn" in str(caught.value.__cause__)

    with pytest.raises(kb.NotInProcess):
        await kb.receive()


async def test_spawn_takes_an_async_function() -> None:
    wrong: Any = function
    with pytest.raises(kb.UsageError, match="spawn runs an async def function"):
        kb.spawn(wrong, 1)
    assert [] == kb.processes()


async def test_awaiting_something_foreign_is_the_handlers_error() -> None:
    class Foreign:
        def __await__(self) -> Any:
            yield "what is this"

    class Wrong(kb.Actor):
        @kb.message
        async def wait(self) -> None:
            await Foreign()

    wrong = await kb.start(Wrong)
    with pytest.raises(kb.ActorExited) as caught:
        await wrong.call(Wrong.wait)

    assert "neither asyncio's nor koboshi's: 'what is this'" in str(caught.value.__cause__)


def test_outside_of_an_event_loop_nothing_is_started() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        kb.spawn(agen)


async def agen() -> None:
    """Never started."""
