"""Channels: what is published reaches each subscriber once and in order, whatever is killed."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from tests.durable.changes import delivered, until

import koboshi as kb

from . import newsroom as program
from .newsroom import Reader, Story, Writer, newsroom
from .test_fence import rows


async def seen(readers: kb.Durable[Reader], key: str, count: int) -> list[int]:
    """What a reader has seen, once it is so much."""

    async def enough() -> list[int] | None:
        found = await readers[key].call(Reader.seen)
        return found if len(found) >= count else None

    return await until(enough, readers)


async def each_gets_all_in_order(store: str) -> None:
    writers, readers, news = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        assert 0 == await news.publish(Story(0))
        await asyncio.gather(*(readers[key].call(Reader.follow) for key in "abc"))
        assert [("Reader", "a"), ("Reader", "b"), ("Reader", "c")] == await news.subscribers()
        await asyncio.gather(*(writers["w"].call(Writer.write, count) for count in (1, 3, 1, 5)))

        for key in "abc":
            assert [*range(1, 11)] == await seen(readers, key, 10)

        await readers["b"].call(Reader.leave)
        await writers["w"].call(Writer.write)
        assert [*range(1, 12)] == await seen(readers, "a", 11)
        assert [*range(1, 11)] == await seen(readers, "b", 10)

    if store.startswith("memory"):
        return
    # Who has subscribed stays so, and is woken by what is published.
    async with kb.Supervisor(writers.child(), readers.child()):
        await writers["w"].call(Writer.write)
        await delivered(readers)
        assert [*range(1, 13)] == await seen(readers, "c", 12)
        assert [*range(1, 11)] == await seen(readers, "b", 10)
        assert 0 == readers.statistics().dead_letters


async def test_each_subscriber_gets_all_of_it_once_and_in_order(store: str) -> None:
    await each_gets_all_in_order(store)


async def test_each_subscriber_gets_all_of_it_once_and_in_order_on_postgres(postgres_url: str) -> None:
    await each_gets_all_in_order(postgres_url)


async def test_each_subscriber_gets_all_of_it_once_and_in_order_on_mariadb(mariadb_url: str) -> None:
    await each_gets_all_in_order(mariadb_url)


async def test_what_a_refused_turn_has_published_reaches_nobody(store: str) -> None:
    writers, readers, _ = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        await readers["a"].call(Reader.follow)
        with pytest.raises(kb.Refused):
            await writers["w"].call(Writer.write_and_refuse)
        await writers["w"].call(Writer.write)

        assert [1] == await seen(readers, "a", 1)


async def test_the_last_word_of_a_turn_about_a_subscription_counts(store: str) -> None:
    writers, readers, news = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        await readers["a"].call(Reader.follow_and_leave)
        assert [] == await news.subscribers()
        await readers["a"].call(Reader.follow)
        await readers["a"].call(Reader.leave_and_follow)
        await writers["w"].call(Writer.write)

        assert [-1] == await seen(readers, "a", 1)


async def test_users_outside_publish_in_order(store: str) -> None:
    writers, readers, news = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        await readers["a"].call(Reader.follow)
        published = await asyncio.gather(*(news.publish(Story(number)) for number in range(30)))

        assert [1] * 30 == published
        assert [*range(30)] == await seen(readers, "a", 30)


async def test_what_is_published_twice_with_one_id_is_handled_once_by_each(store: str) -> None:
    writers, readers, news = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        await readers["a"].call(Reader.follow)
        await asyncio.gather(*(news.publish(Story(1), request="x") for _ in range(3)))
        assert [1] == await seen(readers, "a", 1)
        await readers["b"].call(Reader.follow)
        # Once more after it was handled, with a subscriber that has come since.
        assert 2 == await news.publish(Story(1), request="x")
        assert [1] == await seen(readers, "b", 1)
        await news.publish(Story(2))

        assert [1, 2] == await seen(readers, "a", 2)
        assert [1, 2] == await seen(readers, "b", 2)


@pytest.mark.parametrize("keys", [None, kb.KeyRing({"k": b"k" * 32}, current="k")], ids=["plain", "sealed"])
async def test_another_value_with_the_same_id_is_refused_and_recorded_for_nobody(
    store: str, keys: kb.KeyRing | None
) -> None:
    _, _, news = newsroom(store)
    readers = kb.durable(Reader, store=store, keys=keys)

    async with kb.Supervisor(readers.child()):
        await readers["a"].call(Reader.follow)
        # The second one finds a message that is still on its way.
        both = await asyncio.gather(
            *(news.publish(Story(number), request="x") for number in (1, 2)), return_exceptions=True
        )
        assert 1 == both[0]
        assert isinstance(both[1], kb.RequestMismatch)
        assert [1] == await seen(readers, "a", 1)
        await readers["b"].call(Reader.follow)
        with pytest.raises(kb.RequestMismatch, match=r"request 'x' of Reader/a.*with other arguments"):
            await news.publish(Story(2), request="x")
        await delivered(readers)
        assert [] == await readers["b"].call(Reader.seen)
        # One that has other uses for what is published now is asked for nothing.
        await readers["a"].call(Reader.leave_and_follow)
        assert 2 == await news.publish(Story(3), request="x")
        assert [3] == await seen(readers, "b", 1)
        assert [1] == await readers["a"].call(Reader.seen)


async def test_an_erased_subscriber_is_one_no_more(store: str) -> None:
    writers, readers, news = newsroom(store)

    async with kb.Supervisor(writers.child(), readers.child()):
        await readers["a"].call(Reader.follow)
        await readers["a"].erase()

        assert [] == await news.subscribers()


async def test_what_does_not_fit_a_channel_is_refused_where_it_is_published(store: str) -> None:
    writers, readers, news = newsroom(store)
    elsewhere = kb.durable(Reader, store=store, system="elsewhere", type="Elsewhere")

    with pytest.raises(kb.NotRunning, match="no kind of durable actor of"):
        await news.publish(Story(1))
    async with kb.Supervisor(writers.child(), readers.child(), elsewhere.child()):
        with pytest.raises(kb.UsageError, match=r"the channel 'news' takes .*Story.*, got a str"):
            await news.publish("no story")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        for call in (
            writers["w"].call(Writer.write_wrongly),
            elsewhere["a"].call(Reader.follow),
        ):
            with pytest.raises(kb.ActorExited) as caught:
                await call
            assert isinstance(caught.value.__cause__, kb.UsageError)


@pytest.mark.slow  # four programs are started and killed
async def test_nothing_that_was_published_is_lost_or_repeated_over_kills(url: str, file: Path) -> None:
    chance, last = random.Random(11), 0
    for _ in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable, program.__file__, url, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert b"up\n" == await process.stdout.readline()
        for _ in range(chance.randrange(1, 40)):
            last = int(await process.stdout.readline())
        process.kill()
        await process.communicate()

    writers, readers, _ = newsroom(url)
    async with kb.Supervisor(writers.child(), readers.child()):
        reached = await writers["w"].call(Writer.write)
        for key in "ab":
            assert [*range(1, reached + 1)] == await seen(readers, key, reached)
        await delivered(readers)

    assert reached > last > 0
    assert [] == rows(file, "SELECT source FROM kb_outbox")
