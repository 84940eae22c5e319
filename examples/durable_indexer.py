"""An indexer that survives kill -9: it follows blocks over a socket or HTTP, and none is skipped or repeated.

Run it with:  .venv/bin/python examples/durable_indexer.py
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
import urllib.request
from contextlib import closing, suppress
from typing import Any, ClassVar

import msgspec

import koboshi as kb
from koboshi import otp

LAST, TOPICS = 400, ("clay", "paper", "tea")


class Block(msgspec.Struct, frozen=True):
    number: int


class Shelf(kb.EventSourced[int]):
    @kb.message
    def add(self, number: int) -> None:
        self.emit(Block(number))

    @kb.event
    @staticmethod
    def added(state: int, event: Block) -> int:
        return state + 1


class Index(kb.Projection[None]):
    tables: ClassVar = {"blocks": "topic VARCHAR(255), number BIGINT"}

    @kb.on
    @staticmethod
    def added(tx: kb.Transaction, event: Block) -> None:
        tx.execute("INSERT INTO {blocks} VALUES (:t, :n)", t=tx.source.key, n=event.number)


async def socket_feed(feed: otp.Feed, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"%d\n" % (feed.cursor or 0))
    while line := await reader.readline():
        await feed.deliver(int(line), int(line))


async def http_feed(port: int, cursor: int | None) -> tuple[list[int], int | None]:
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/{cursor or 0}")
    blocks = msgspec.json.decode(answer.read(), type=list[int])
    return blocks, blocks[-1] if blocks else cursor


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(ConnectionError):  # its client may be killed
        asked = (await reader.readline()).decode().removeprefix("GET /").split()
        blocks = list(range(int(asked[0]) + 1, LAST + 1))[: random.randrange(20, 60)]
        lines = "".join(f"{number}\n" for number in blocks)
        writer.write((f"HTTP/1.0 200 OK\r\n\r\n{blocks}" if asked[1:] else lines).encode())


async def index(store: str, port: int) -> None:
    shelves = kb.durable(Shelf, store=store)
    feeds: Any = otp.Push("tcp", socket_feed, (port,)), otp.Poll("http", lambda c: http_feed(port, c))
    to: Any = {"name": "blocks", "store": store, "to": lambda n: shelves[TOPICS[n % 3]], "message": Shelf.add}
    feed = kb.child(kb.DurableFailover, *feeds, **to)
    async with kb.Supervisor(kb.projection(Index, of=shelves, sync=True).child(), shelves.child(), feed):
        await asyncio.Event().wait()


async def main(path: str, kills: int = 0, blocks: int = 0, total: int = 0) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        command = sys.executable, __file__, f"sqlite:///{path}", str(server.sockets[0].getsockname()[1])
        while blocks < LAST:
            until = min(LAST, blocks + random.randrange(60, 150))
            program = await asyncio.create_subprocess_exec(*command)
            try:
                while blocks < until and program.returncode is None:
                    await asyncio.sleep(random.random() * 0.02)
                    with closing(sqlite3.connect(path)) as file, suppress(sqlite3.OperationalError):
                        blocks, total = file.execute("SELECT count(*), sum(number) FROM blocks").fetchone()
            finally:
                program.kill()
                kills += await program.wait() == -9
    print(f"killed {kills} times; {blocks} of {LAST} blocks, the sum is {total} of {LAST * (LAST + 1) // 2}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(index(sys.argv[1], int(sys.argv[2])))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(f"{folder}/index.db"))
