"""Writers that publish on a channel and readers that subscribe; also a program: `python newsroom.py URL`.

As a program it publishes numbers one after the other, prints each that is committed, and is killed at some moment.
"""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

import msgspec

import koboshi as kb


class Story(msgspec.Struct, frozen=True):
    number: int
    title: str = ""


class Reader(kb.DurableActor[list[int]]):
    news: ClassVar[kb.Channel[Story]]

    @kb.message
    def follow(self) -> None:
        self.subscribe(self.news, Reader.read)

    @kb.message
    def leave(self) -> None:
        self.unsubscribe(self.news)

    @kb.message
    def follow_and_leave(self) -> None:
        self.subscribe(self.news, Reader.read)
        self.unsubscribe(self.news)

    @kb.message
    def leave_and_follow(self) -> None:
        self.unsubscribe(self.news)
        self.subscribe(self.news, Reader.read_title)

    @kb.message
    def read(self, story: Story) -> None:
        assert isinstance(story, Story)
        self.state = [*self.state, story.number]

    @kb.message
    def read_title(self, story: Story) -> None:
        self.state = [*self.state, -story.number]

    @kb.query
    def seen(self) -> list[int]:
        return self.state


class Writer(kb.DurableActor[int]):
    @kb.message
    def write(self, count: int = 1) -> int:
        for _ in range(count):
            self.state += 1
            self.publish(Reader.news, Story(self.state))
        return self.state

    @kb.message
    def write_and_refuse(self) -> None:
        self.publish(Reader.news, Story(99))
        raise kb.Refused("not printed")

    @kb.message
    def write_wrongly(self) -> None:
        self.publish(Reader.news, "no story")  # type: ignore[misc] # pyright: ignore[reportArgumentType]


def newsroom(store: str) -> tuple[kb.Durable[Writer], kb.Durable[Reader], kb.Channel[Story]]:
    Reader.news = kb.Channel("news", Story, store=store)
    return kb.durable(Writer, store=store), kb.durable(Reader, store=store), Reader.news


async def main(url: str) -> None:
    writers, readers, _ = newsroom(url)
    async with kb.Supervisor(writers.child(), readers.child()):
        for key in "ab":
            await readers[key].call(Reader.follow)
        print("up", flush=True)
        while True:
            print(await writers["w"].call(Writer.write, 3), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
