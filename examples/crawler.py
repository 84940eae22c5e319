"""A crawler: pages are fetched by one event loop and parsed on every core.

It starts a web site of its own on the loopback interface and crawls that from its first page.
Run it with:  .venv/bin/python examples/crawler.py [PAGES]      (300 by default)
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser

import koboshi as kb

WORDS = ["let", "it", "crash", "and", "start", "again", "from", "a", "good", "state"]
CONNECTIONS = 20


@dataclass
class Page:
    """What a worker makes of a page."""

    links: list[str]
    words: Counter[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page([], Counter())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.links += [value for name, value in attrs if (tag, name) == ("a", "href") and value]

    def handle_data(self, data: str) -> None:
        self.page.words.update(re.findall(r"[a-z]+", data.lower()))


def parse(html: str) -> Page:
    """Find the links and count the words: runs in a worker."""
    reader = _Reader()
    reader.feed(html)
    return reader.page


async def serve(pages: int) -> asyncio.Server:
    """A web site whose page n links to some others."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int((await reader.readuntil(b"\r\n\r\n")).split()[1].strip(b"/") or b"0")
        links = {(2 * number + 1) % pages, (2 * number + 2) % pages, (7 * number) % pages}
        text = " ".join(WORDS[(number + each * each) % len(WORDS)] for each in range(2000))
        body = f"<p>{text}</p>" + "".join(f'<a href="/{link}">page</a>' for link in sorted(links))
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body.encode())
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def fetch(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2].decode()


async def main() -> None:
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    server = await serve(pages)
    port = server.sockets[0].getsockname()[1]
    # Parsing has no effects, so a page whose worker dies is simply parsed again.
    async with server, kb.Supervisor(kb.pool(parse, retries=2, timeout=10).options(id="parsers")) as tree:
        jobs = kb.jobs(tree.ref(kb.Pool, "parsers"))
        seen, words, slots = {"/0"}, Counter[str](), asyncio.Semaphore(CONNECTIONS)

        async def visit(path: str, group: asyncio.TaskGroup) -> None:
            async with slots:
                html = await fetch(port, path)
            page = await jobs.call(parse, html)
            words.update(page.words)
            for link in set(page.links) - seen:
                seen.add(link)
                group.create_task(visit(link, group))

        async with asyncio.TaskGroup() as group:
            group.create_task(visit("/0", group))
        print(f"{len(seen)} pages, {words.total()} words; the most frequent: {words.most_common(1)[0][0]}")


if __name__ == "__main__":
    kb.run(main)
