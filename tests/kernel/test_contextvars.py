"""Context variables: the sender's values are there in the receiver, and nothing comes back."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

import koboshi as kb
from koboshi._kernel._events import CrashReport, Event
from koboshi._kernel._node import this_node


def events() -> list[Event]:
    """Everything that is reported from now on."""
    seen: list[Event] = []
    this_node().instruments.add(seen.append)
    return seen


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Tenants(kb.Actor):
    """Reads and sets a context variable."""

    def __init__(self, following: kb.ActorRef[Tenants] | None = None) -> None:
        self.following = following
        self.seen: list[str] = []

    @kb.message
    def read(self) -> str:
        return tenant.get()

    @kb.message
    async def read_later(self) -> str:
        await asyncio.sleep(0)
        return tenant.get()

    @kb.message
    def write(self, value: str) -> None:
        tenant.set(value)

    @kb.message
    async def write_later(self, value: str) -> str:
        tenant.set(value)
        await asyncio.sleep(0)
        return tenant.get()

    @kb.message
    def note(self) -> None:
        self.seen.append(tenant.get())

    @kb.message
    def noted(self) -> list[str]:
        return self.seen

    @kb.message
    async def ask_next(self) -> str:
        assert self.following is not None
        return await self.following.call(Tenants.read)

    @kb.message
    def fail(self) -> None:
        raise ValueError("torn")

    @kb.message
    async def fail_later(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("torn")


@pytest.mark.parametrize("message", [Tenants.read, Tenants.read_later, Tenants.ask_next])
async def test_what_the_caller_has_set_is_seen_in_the_callee(message: Any) -> None:
    last = await kb.start(Tenants)
    first = await kb.start(Tenants, last)
    tenant.set("acme")
    assert "acme" == await first.call(message)

    tenant.set("globex")
    assert "globex" == await first.call(message)


@pytest.mark.parametrize("message", [Tenants.write, Tenants.write_later])
async def test_what_the_callee_sets_never_comes_back_nor_stays(message: Any) -> None:
    tenants = await kb.start(Tenants)
    tenant.set("acme")
    await tenants.call(message, "intruder")

    assert "acme" == tenant.get()
    assert "acme" == await tenants.call(Tenants.read)


async def test_a_cast_carries_the_context_of_its_sending_and_not_of_its_delivery() -> None:
    tenants = await kb.start(Tenants)
    for name in ("a", "b", "c"):
        tenant.set(name)
        tenants.cast(Tenants.note)
    tenant.set("later")

    assert ["a", "b", "c"] == await tenants.call(Tenants.noted)


@pytest.mark.parametrize("message", [Tenants.fail, Tenants.fail_later])
@pytest.mark.parametrize("sent", ["call", "cast"])
async def test_a_crash_report_carries_the_correlation_id_of_the_message_in_hand(
    message: Any, sent: str
) -> None:
    seen = events()
    tenants = await kb.start(Tenants)
    kb.correlation_id.set("request-17")
    if sent == "call":
        with pytest.raises(kb.ActorExited):
            await tenants.call(message)
    else:
        tenants.cast(message)
    kb.correlation_id.set("request-18")
    await tenants.wait_exit()

    (report,) = [each for each in seen if isinstance(each, CrashReport)]
    assert "request-17" == report.correlation_id
