"""The figures of a node, against a program whose counts are known."""

from __future__ import annotations

import asyncio
import pickle

import koboshi as kb


class Slow(kb.Actor):
    @kb.message
    def nothing(self) -> None: ...

    @kb.message
    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()


async def test_a_node_counts_its_processes_names_and_waiting_calls() -> None:
    before = kb.statistics()
    ref = await kb.start(Slow)
    kb.register("slow", ref)
    ref.cast(Slow.nothing)
    await ref.call(Slow.nothing)
    calling = asyncio.ensure_future(ref.call(Slow.wait))
    await asyncio.sleep(0)
    during = kb.statistics()
    ref.kill()
    await asyncio.wait([calling])
    after = kb.statistics()

    assert isinstance(calling.exception(), kb.ActorExited)
    assert (during.processes, during.names) == (before.processes + 1, before.names + 1)
    assert during.waiting_calls == 1
    assert after.waiting_calls == 0
    assert (after.processes, after.names) == (before.processes, before.names)
    assert after.turns > before.turns
    assert after.blocked == 0


def test_public_names_say_where_users_import_them_from() -> None:
    named = [getattr(kb, name) for name in kb.__all__]
    hidden = [each for each in named if str(getattr(each, "__module__", "")).startswith("koboshi.")]

    assert hidden == []
    assert pickle.loads(pickle.dumps(kb.Crashed(ValueError(1)))) == kb.Crashed(ValueError(1))
