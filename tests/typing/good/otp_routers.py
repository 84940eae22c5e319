"""Routers and gates keep the types of what goes through them."""

from __future__ import annotations

from typing import assert_type

import koboshi as kb
from koboshi import otp


class Shop(kb.Actor):
    @kb.message
    def price(self, article: str) -> int:
        return len(article)


async def fetch(url: str, *, attempts: int = 1) -> bytes:
    return url.encode() * attempts


async def main(refs: list[kb.ActorRef[Shop]], tree: kb.Supervisor) -> None:
    router = otp.router(refs, strategy="least_busy", limit=3)
    assert_type(router, otp.Router[Shop])
    assert_type(otp.router(tree, Shop), otp.Router[Shop])
    assert_type(await router.within(1.0).call(Shop.price, "lamp"), int)
    assert_type(await router.call_all(Shop.price, "lamp"), list[int | kb.CallError])
    router.cast(Shop.price, "lamp")
    await router.send(Shop.price, "lamp")

    breaker = otp.CircuitBreaker()
    assert_type(await breaker.call(fetch, "x", attempts=2), bytes)
    assert_type(await breaker(fetch)("x"), bytes)
    assert_type(await otp.fallback(fetch, fetch)("x", attempts=2), bytes)
