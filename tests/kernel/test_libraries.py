"""Real libraries work unchanged inside async messages, and leave nothing when ended in the middle.

Each library has one body that does its work to the end and one that waits for ever in its middle. The
waiting one is ended by a kill, by an exit signal, by a timeout in the handler and by a caller's deadline.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import koboshi as kb


class World:
    """What the bodies work with: a server that answers or keeps silent, a directory, and notes."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.notes: list[str] = []
        self.waiting = asyncio.Event()
        self.connections: set[asyncio.Task[Any]] = set()
        self.port = 0
        self.release = threading.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A line server: echoes each line, and says nothing more after `silence`."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)
        silent = False
        try:
            while line := await reader.readline():
                if line.startswith(b"GET /silence") or line == b"silence\n":
                    silent = True
                    self.waiting.set()
                elif not silent:
                    writer.write(line.upper())
                    await writer.drain()
        except ConnectionError:
            pass  # a client that was killed need not say goodbye
        finally:
            writer.close()


class Host(kb.Actor):
    """Runs a body as its handler."""

    def __init__(self, world: World) -> None:
        self.world = world

    @kb.message
    async def do(self, body: Body) -> Any:
        try:
            return await body(self.world)
        finally:
            self.world.notes.append("finally")

    @kb.message
    async def do_within(self, seconds: float, body: Body) -> str:
        try:
            async with asyncio.timeout(seconds) as scope:
                await self.world_waits(body, scope, seconds)
        except TimeoutError:
            return "expired"
        return "ended by itself"

    async def world_waits(self, body: Body, scope: asyncio.Timeout, seconds: float) -> None:
        """The time runs from when the body has come to its wait."""
        loop = asyncio.get_running_loop()
        scope.reschedule(None)

        async def start_clock() -> None:
            await self.world.waiting.wait()
            scope.reschedule(loop.time() + seconds)

        clock = asyncio.create_task(start_clock())
        try:
            await body(self.world)
        finally:
            clock.cancel()

    @kb.message
    def plain(self, value: Any) -> Any:
        return value


Body = Callable[[World], Coroutine[Any, Any, Any]]


# -- streams and subprocesses ------------------------------------------------------------------


async def streams_work(world: World) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    got = []
    for line in (b"one\n", b"two\n"):
        writer.write(line)
        await writer.drain()
        got.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return got == [b"ONE\n", b"TWO\n"]


async def streams_wait(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        writer.write(b"silence\n")
        await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


async def subprocess_works(world: World) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "print(input()[::-1])",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(b"olleh\n")
    return (process.returncode, out) == (0, b"hello\n")


async def subprocess_waits(world: World) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('up', flush=True); input()",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        await process.stdout.readline()
        world.waiting.set()
        await process.wait()
    finally:
        process.kill()
        await process.wait()
        process.stdin.close()
        await process.stdout.read()


# -- threads -----------------------------------------------------------------------------------


async def threads_work(world: World) -> Any:
    return await asyncio.to_thread(sum, range(10)) == 45


async def threads_wait(world: World) -> None:
    asyncio.get_running_loop().call_soon(world.waiting.set)
    try:
        await asyncio.to_thread(world.release.wait)
    finally:
        world.release.set()


# -- anyio -------------------------------------------------------------------------------------


async def anyio_scopes_work(world: World) -> Any:
    task = asyncio.current_task()
    assert task is not None
    with anyio.move_on_after(0.001) as moved:
        await anyio.sleep(60)
    with pytest.raises(TimeoutError), anyio.fail_after(0.001):
        await anyio.sleep(60)
    with anyio.CancelScope() as cancelled:
        cancelled.cancel()
        await anyio.lowlevel.checkpoint()
        raise AssertionError("not reached")
    with anyio.CancelScope() as outer:
        with anyio.CancelScope(shield=True):
            outer.cancel()
            await anyio.lowlevel.checkpoint()
            world.notes.append("shielded")
        await anyio.sleep(60)
    with anyio.fail_after(60):
        await anyio.lowlevel.checkpoint()
    caught = [scope.cancelled_caught for scope in (moved, cancelled, outer)]
    return caught == [True] * 3 and task.cancelling() == 0


async def anyio_scope_over_a_call_works(world: World) -> Any:
    other = await kb.start(Host, world)
    with anyio.move_on_after(0.001) as scope:
        await other.call(Host.do, scopes_wait)
    other.kill()
    await other.wait_exit(5)
    task = asyncio.current_task()
    assert task is not None
    return scope.cancelled_caught and task.cancelling() == 0


async def anyio_groups_work(world: World) -> Any:
    send, receive = anyio.create_memory_object_stream[int](2)
    got: list[int] = []

    async def produce(start: int, *, task_status: Any) -> None:
        task_status.started(start)
        async with send.clone() as out:
            for number in range(start, start + 5):
                await out.send(number)

    async with anyio.create_task_group() as group:
        for start in (0, 10):
            assert await group.start(produce, start) == start
        send.close()
        async with receive:
            got.extend([number async for number in receive])

    async def fails() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 60)
            raise ValueError("the body fails")

    with pytest.raises(ExceptionGroup):
        await fails()
    return sorted(got) == [*range(5), *range(10, 15)]


async def anyio_threads_work(world: World) -> Any:
    def in_thread() -> Any:
        return anyio.from_thread.run(anyio.sleep, 0), anyio.from_thread.run_sync(threading.get_ident)

    _, ident = await anyio.to_thread.run_sync(in_thread)
    return ident == threading.get_ident()


async def scopes_wait(world: World) -> None:
    with anyio.CancelScope(), anyio.fail_after(60):
        asyncio.get_running_loop().call_soon(world.waiting.set)
        await anyio.sleep_forever()


async def anyio_groups_wait(world: World) -> None:
    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            world.notes.append("child")

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        group.start_soon(child)
        await anyio.lowlevel.checkpoint()
        asyncio.get_running_loop().call_soon(world.waiting.set)
        await anyio.sleep_forever()


async def anyio_streams_wait(world: World) -> None:
    send, receive = anyio.create_memory_object_stream[int](0)
    async with send, receive:
        asyncio.get_running_loop().call_soon(world.waiting.set)
        await receive.receive()


async def anyio_threads_wait(world: World) -> None:
    asyncio.get_running_loop().call_soon(world.waiting.set)
    try:
        await anyio.to_thread.run_sync(world.release.wait, abandon_on_cancel=True)
    finally:
        world.release.set()


# -- httpx and aiosqlite -----------------------------------------------------------------------


@asynccontextmanager
async def web(hold: asyncio.Event) -> AsyncIterator[str]:
    """A real uvicorn with two pages."""

    async def echo(request: Request) -> Response:
        return JSONResponse({"got": await request.json()})

    async def slow(request: Request) -> Response:
        hold.set()
        await asyncio.sleep(0.2)
        return Response("slow")

    app = Starlette(routes=[Route("/echo", echo, methods=["POST"]), Route("/slow", slow)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    sockets = [server.config.bind_socket()]
    running = asyncio.create_task(server._serve(sockets))
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


async def httpx_works(world: World) -> Any:
    async with web(asyncio.Event()) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answers = await asyncio.gather(*(client.post("/echo", json={"n": n}) for n in range(5)))
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/slow", timeout=0.05)
    return [answer.json() for answer in answers] == [{"got": {"n": n}} for n in range(5)]


async def httpx_waits(world: World) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://127.0.0.1:{world.port}/silence", timeout=60)


async def aiosqlite_works(world: World) -> Any:
    async with aiosqlite.connect(world.tmp / "works.db") as db:
        await db.execute("create table t (n integer)")
        await db.executemany("insert into t values (?)", [(n,) for n in range(10)])
        await db.commit()
        async with db.execute("select n from t where n % 2 = 0 order by n") as cursor:
            rows = [row[0] async for row in cursor]
    return rows == [0, 2, 4, 6, 8]


async def aiosqlite_waits(world: World) -> None:
    async with aiosqlite.connect(world.tmp / "waits.db") as db:
        await db.execute("create table t (n integer)")
        asyncio.get_running_loop().call_soon(world.waiting.set)
        try:
            await db._execute(world.release.wait)
        finally:
            world.release.set()


WORKING = [
    streams_work, subprocess_works, threads_work, anyio_scopes_work, anyio_scope_over_a_call_works,
    anyio_groups_work, anyio_threads_work, httpx_works, aiosqlite_works,
]  # fmt: skip
WAITING = [
    streams_wait, subprocess_waits, threads_wait, scopes_wait, anyio_groups_wait, anyio_streams_wait,
    anyio_threads_wait, httpx_waits, aiosqlite_waits,
]  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The world, and the proof that nothing of it is left: no task, no connection, no complaint."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    world = World(tmp_path)
    server = await asyncio.start_server(world.serve, "127.0.0.1", 0)
    world.port = server.sockets[0].getsockname()[1]
    yield world
    # The clients have gone, so each of these comes to its end.
    if world.connections:
        await asyncio.wait(world.connections, timeout=5)
    server.close()
    await server.wait_closed()
    await loop.shutdown_default_executor()
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)

    assert complaints == []
    assert [] == [task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)]


@pytest.fixture
async def host(world: World) -> AsyncIterator[kb.ActorRef[Host]]:
    ref = await kb.start(Host, world)
    yield ref
    ref.kill()
    await ref.wait_exit(5)


@pytest.mark.parametrize("body", WORKING)
async def test_it_works_inside_an_async_message(host: kb.ActorRef[Host], body: Body) -> None:
    assert await host.within(20).call(Host.do, body) is True
    assert await host.call(Host.plain, "serving") == "serving"


@pytest.mark.parametrize("reason", [kb.Kill(), kb.Shutdown()], ids=repr)
@pytest.mark.parametrize("body", WAITING)
async def test_it_unwinds_when_the_actor_is_ended_in_its_middle(
    host: kb.ActorRef[Host], world: World, body: Body, reason: kb.ExitReason
) -> None:
    downs: list[kb.Down] = []

    async def watch() -> None:
        kb.monitor(host)
        downs.append(await kb.receive(kb.Down))
        assert await kb.receive(timeout=0) == kb.Timeout()

    watcher = kb.spawn(watch)
    call = asyncio.create_task(host.within(None).call(Host.do, body))
    await world.waiting.wait()
    host.exit(reason)
    ended = kb.Killed() if isinstance(reason, kb.Kill) else reason

    assert await host.wait_exit(5) == ended
    with pytest.raises(kb.ActorExited) as caught:
        await call
    assert caught.value.reason == ended
    assert await watcher.wait_exit(5) == kb.Normal()
    assert [ended] == [down.reason for down in downs]
    assert world.notes == (["child", "child", "finally"] if body is anyio_groups_wait else ["finally"])


@pytest.mark.parametrize("body", WAITING)
async def test_it_unwinds_at_a_timeout_in_the_handler_and_the_actor_serves_on(
    host: kb.ActorRef[Host], world: World, body: Body
) -> None:
    assert await host.within(20).call(Host.do_within, 0.01, body) == "expired"
    assert await host.call(Host.plain, "serving") == "serving"


@pytest.mark.parametrize("body", WAITING)
async def test_a_caller_that_gives_up_leaves_it_running_until_its_actor_ends(
    host: kb.ActorRef[Host], world: World, body: Body
) -> None:
    call = asyncio.create_task(host.within(2.0 if body is subprocess_waits else 0.3).call(Host.do, body))
    await world.waiting.wait()
    with pytest.raises(kb.CallTimeout) as caught:
        await call

    assert caught.value.maybe_executed
    assert world.notes == []
    host.exit(kb.Shutdown())
    assert await host.wait_exit(5) == kb.Shutdown()
    assert "finally" in world.notes
