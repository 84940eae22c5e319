"""The child of which there are copies; importable by worker nodes."""

from __future__ import annotations

import os

import koboshi as kb
from koboshi import otp


class Shard(kb.Actor):
    """Knows its index, keeps values, and can be made not to start."""

    def __init__(self, index: int, broken: frozenset[int] = frozenset()) -> None:
        if index in broken:
            raise RuntimeError(f"shard {index} does not start")
        self.index = index
        self.values: dict[object, object] = {}

    @kb.message
    def where(self) -> int:
        return self.index

    @kb.message
    def put(self, key: object, value: object) -> int:
        self.values[key] = value
        return self.index

    @kb.message
    def get(self, key: object) -> object:
        return self.values.get(key)

    @kb.message
    def pid(self) -> int:
        return os.getpid()

    @kb.message
    def fail(self) -> None:
        raise ValueError("asked to")


class Asker(kb.Actor):
    """Finds partitions from wherever it runs."""

    def __init__(self, shards: kb.ActorRef[otp.PartitionSupervisor] | str) -> None:
        self.shards = otp.partitions(shards, Shard)

    @kb.message
    async def index_of(self, key: object) -> int:
        return await self.shards.call(key, Shard.where)

    @kb.message
    async def keep(self, key: object) -> kb.ActorRef[Shard]:
        return await self.shards.ref(key)

    @kb.message
    async def indexes(self) -> list[int]:
        return [await ref.call(Shard.where) for ref in await self.shards.refs()]
