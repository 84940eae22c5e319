"""An indexer: a feed and another one to fall back on, a worker for each topic, and all of it on disk.

Run it with:  .venv/bin/python examples/indexer.py
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import koboshi as kb
from koboshi import otp

TOPICS = "tea", "clay", "paper"
ITEMS = [(number, TOPICS[number % 3]) for number in range(1, 13)]


class Shelf(kb.Actor):
    documents = 0

    @kb.message
    def add(self, documents: int = 1) -> int:
        self.documents += documents
        return self.documents


class Indexer(kb.Actor):
    def __init__(self, path: Path, until: int, done: asyncio.Event) -> None:
        self.path, self.until, self.done = path, until, done
        self.shelves: dict[str, kb.ActorRef[Shelf]] = {}

    async def on_start(self) -> None:
        self.table: otp.DiskTable[Any] = await otp.DiskTable.open(self.path, name="index", named=True)
        kept = sorted(row for row in self.table.rows() if row[0] in TOPICS)
        print("restored:", [(topic, await self.add(topic, count)) for topic, count in kept])

    async def add(self, topic: str, documents: int) -> int:
        if topic not in self.shelves:
            start = kb.DynamicSupervisor.start_child
            self.shelves[topic] = await kb.named(kb.DynamicSupervisor, "shelves").call(start, kb.child(Shelf))
        return await self.shelves[topic].call(Shelf.add, documents)

    @kb.message
    async def index(self, item: tuple[int, str]) -> None:
        number, topic = item
        self.table.insert((topic, await self.add(topic, 1)), ("cursor", number))
        await self.table.sync()
        if number == self.until:
            self.done.set()


async def socket_feed(feed: otp.Feed, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"%d\n" % feed.cursor)
    while line := await reader.readline():
        await feed.deliver(json.loads(line), json.loads(line)[0])
    writer.close()


async def http_feed(port: int, cursor: int) -> tuple[list[Any], int]:
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/{cursor}", timeout=5)
    items = json.loads(answer.read())
    return items, items[-1][0] if items else cursor


async def serve(until: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    asked = (await reader.readline()).decode().removeprefix("GET /").split()
    items = [item for item in ITEMS if int(asked[0]) < item[0] <= until]
    lines = "".join(f"{json.dumps(item)}\n" for item in items)
    writer.write((f"HTTP/1.0 200 OK\r\n\r\n{json.dumps(items)}" if len(asked) > 1 else lines).encode())
    writer.close()


async def session(path: Path, until: int) -> None:
    servers = [await asyncio.start_server(partial(serve, n), "127.0.0.1", 0) for n in (until - 3, until)]
    line, page = (server.sockets[0].getsockname()[1] for server in servers)
    shelves, done = kb.child(kb.DynamicSupervisor).options(id="shelves", name="shelves"), asyncio.Event()
    async with servers[0], servers[1], kb.Supervisor(shelves, kb.child(Indexer, path, until, done)) as tree:
        sources = otp.Push("socket", socket_feed, (line,)), otp.Poll("http", partial(http_feed, page))
        cursor = otp.named_table("index").lookup_element("cursor", 1, default=0)
        to: Any = {"consumer": tree.ref(Indexer, "Indexer"), "message": Indexer.index, "cursor": cursor}
        await tree.start_child(kb.child(otp.Failover, *sources, **to))
        await asyncio.wait_for(done.wait(), 20)


async def main() -> None:
    kb.listen(lambda event: print("from", event.source) if isinstance(event, otp.ChangedOver) else None)
    with tempfile.TemporaryDirectory() as folder:
        await session(Path(folder) / "shelves.db", 6)
        await session(Path(folder) / "shelves.db", 12)


if __name__ == "__main__":
    kb.run(main, log_level=None)
