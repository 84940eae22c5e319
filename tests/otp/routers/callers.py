"""Who calls through a router from another node."""

from __future__ import annotations

from tests.otp.routers.routees import Worker

import koboshi as kb
from koboshi import otp


class Caller(kb.Actor):
    @kb.message
    async def who(self, router: otp.Router[Worker], times: int) -> list[str]:
        return [await router.call(Worker.who) for _ in range(times)]

    @kb.message
    async def failure(self, router: otp.Router[Worker]) -> Exception | None:
        try:
            await router.call(Worker.who)
        except kb.KoboshiError as error:
            return error
        return None
