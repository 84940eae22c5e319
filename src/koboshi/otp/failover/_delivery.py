"""How an item gets to the consumer."""

from __future__ import annotations

import asyncio
from random import random
from typing import Any

from ..._kernel._errors import CallError, UsageError
from ..._kernel._ref import ActorRef
from ..._supervision._restart import Backoff


class Delivery:
    """Calls the consumer with one item after the other, and waits for it while it is not there."""

    def __init__(self, consumer: ActorRef[Any], message: Any, backoff: Backoff) -> None:
        self._consumer = consumer
        self._message = message
        self._backoff = backoff
        self.delivered = 0
        self.rejected = 0

    async def deliver(self, item: Any) -> Exception | None:
        """Have the consumer take an item; the error if it failed on it, or may have.

        Such an item is not sent again: one that ends its consumer would do so for ever.
        """
        absent = 0
        while True:
            try:
                await self._consumer.call(self._message, item)
            except UsageError:
                raise  # no such message: nothing would ever be delivered
            except Exception as error:
                if not isinstance(error, CallError) or error.maybe_executed:
                    self.rejected += 1
                    return error
                absent += 1
                await asyncio.sleep(self._backoff.delay(absent, random))
            else:
                self.delivered += 1
                return None
