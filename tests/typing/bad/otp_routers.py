"""Mistakes with routers that a strict checker must refuse, each on the line that ends with `# refused`."""

from __future__ import annotations

import koboshi as kb
from koboshi import otp


class Shop(kb.Actor):
    @kb.message
    def price(self, article: str) -> int:
        return len(article)


class Other(kb.Actor):
    @kb.message
    def ping(self) -> int:
        return 1


async def fetch(url: str) -> bytes:
    return url.encode()


async def main(refs: list[kb.ActorRef[Shop]]) -> None:
    router = otp.router(refs)
    await router.call(Shop.price, 3)  # refused
    await router.call(Other.ping)  # refused
    otp.router(refs, strategy="best")  # refused
    await otp.CircuitBreaker().call(fetch, 3)  # refused
