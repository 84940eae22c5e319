"""Partition supervisors: which key belongs to which copy, and what a change of their number does."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.otp.partitions.shards import Asker, Shard

import koboshi as kb
from koboshi import otp


def shards(count: int | None = 3, **options: Any) -> otp.PartitionSupervisor:
    return otp.PartitionSupervisor(lambda index: kb.child(Shard, index), partitions=count, **options)


@pytest.mark.parametrize(("key", "index"), [(0, 0), (4, 1), (-4, 1), (-1, 1), (2**70, 2**70 % 3), (True, 1)])
def test_an_integer_belongs_to_its_absolute_value_modulo_the_number(key: int, index: int) -> None:
    assert index == otp.partition_number(key, 3)


def test_other_keys_belong_to_the_same_partition_in_every_process_whatever_its_hash_seed() -> None:
    code = (
        "from koboshi.otp import partition_number as p; print(*[p(k, 1000) for k in ('a', b'a', ('a', 1.5))])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(told)


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.tuples(st.integers(), st.text())))
def test_every_key_belongs_to_a_partition_and_always_to_that_one(key: object) -> None:
    index = otp.partition_number(key, 7)

    assert index in range(7)
    assert index == otp.partition_number(pickle.loads(pickle.dumps(key)), 7)


def test_keys_that_are_equal_belong_to_one_partition() -> None:
    assert 1 == len({otp.partition_number(key, 1000) for key in (7, 7.0)})
    assert 1 == len({otp.partition_number(key, 1000) for key in ((1, "a"), (True, "a"))})


@dataclass(frozen=True)
class Point:
    x: int


def test_any_value_that_can_be_hashed_is_a_key_but_for_one_that_is_equal_to_itself_alone() -> None:
    assert otp.partition_number(Point(1), 50) == otp.partition_number(Point(1), 50)
    with pytest.raises(kb.UsageError, match="hashable"):
        otp.partition_number([1], 3)
    with pytest.raises(kb.UsageError, match="equal to nothing but itself"):
        otp.partition_number(object(), 3)


def test_strings_are_dealt_out_evenly() -> None:
    counts = Counter(otp.partition_number(f"user-{n}", 8) for n in range(8000))

    assert 8 == len(counts)
    assert all(850 < count < 1150 for count in counts.values())


async def test_each_copy_knows_its_index_and_is_found_by_key() -> None:
    async with shards() as tree:
        assert [0, 1, 2, 0] == [await tree.partition(Shard, key).call(Shard.where) for key in range(4)]
        assert [2, 1, 0] == [child.id for child in await tree.which_children()]
        assert 3 == tree.size


async def test_copies_of_a_plain_spec_have_its_arguments() -> None:
    async with otp.PartitionSupervisor(kb.child(Shard, 9), partitions=2) as tree:
        refs = [tree.partition(Shard, key) for key in (0, 1)]

        assert [9, 9] == [await ref.call(Shard.where) for ref in refs]
        assert refs[0] != refs[1]


async def test_by_default_there_is_one_for_each_processor() -> None:
    async with shards(None) as tree:
        assert len(os.sched_getaffinity(0)) == tree.size


async def test_a_ref_to_a_partition_survives_its_restart_and_the_others_are_undisturbed() -> None:
    async with shards() as tree:
        one, two = tree.partition(Shard, 1), tree.partition(Shard, 2)
        await two.call(Shard.put, 2, "kept")
        with pytest.raises(kb.ActorExited):
            await one.call(Shard.fail)
        await tree.wait_ready()

        assert 1 == await one.call(Shard.where)
        assert "kept" == await two.call(Shard.get, 2)


async def test_after_a_resize_down_every_key_belongs_to_a_living_partition() -> None:
    async with shards(5) as tree:
        gone = tree.partition(Shard, 4)
        assert 5 == await tree.resize(2)

        assert [key % 2 for key in range(20)] == [
            await tree.partition(Shard, key).call(Shard.where) for key in range(20)
        ]
        assert not gone.alive
        assert 2 == (await tree.count_children()).specs


async def test_a_resize_up_starts_copies_that_know_their_index_and_keys_belong_to_them_then() -> None:
    async with shards(2) as tree:
        assert 2 == await tree.resize(4)

        assert [0, 1, 2, 3] == [await tree.partition(Shard, key).call(Shard.where) for key in range(4)]


async def test_after_a_resize_to_nothing_a_lookup_raises_until_there_are_some_again() -> None:
    async with shards(2) as tree:
        await tree.resize(0)
        with pytest.raises(otp.NoPartitions, match="resized to 0"):
            tree.partition(Shard, 1)
        await tree.resize(1)

        assert 0 == await tree.partition(Shard, 1).call(Shard.where)


async def test_partitions_that_stay_keep_their_state_through_resizes() -> None:
    async with shards(1) as tree:
        await tree.partition(Shard, 0).call(Shard.put, 0, "kept")
        await tree.resize(3)
        await tree.resize(1)

        assert "kept" == await tree.partition(Shard, 5).call(Shard.get, 0)


async def test_when_an_added_copy_does_not_start_those_before_it_are_stopped_and_nothing_has_changed() -> (
    None
):
    broken = otp.PartitionSupervisor(lambda index: kb.child(Shard, index, frozenset({3})), partitions=2)
    async with broken as tree:
        with pytest.raises(kb.StartError, match="shard 3 does not start"):
            await tree.resize(5)

        assert (2, 2) == (tree.size, (await tree.count_children()).specs)
        assert 1 == await tree.partition(Shard, 3).call(Shard.where)


async def test_a_function_of_the_index_that_raises_costs_the_copies_nothing() -> None:
    specs = [kb.child(Shard, 0)]
    async with otp.PartitionSupervisor(lambda index: specs[index], partitions=1) as tree:
        with pytest.raises(kb.UsageError, match="IndexError"):
            await tree.resize(2)

        assert 0 == await tree.partition(Shard, 3).call(Shard.where)


async def test_a_partition_that_was_terminated_is_said_to_be_nobody_and_comes_back_by_restart_child() -> None:
    async with shards() as tree:
        await tree.terminate_child(1)
        ref = tree.partition(Shard, 1)
        with pytest.raises(kb.NotRunning):
            await ref.call(Shard.where)
        await tree.restart_child(1)

        assert 1 == await ref.call(Shard.where)


async def test_children_are_added_and_taken_away_by_resize_alone() -> None:
    async with shards() as tree:
        with pytest.raises(kb.UsageError, match="resize"):
            await tree.start_child(kb.child(Shard, 9))
        await tree.terminate_child(2)
        with pytest.raises(kb.UsageError, match="resize"):
            await tree.delete_child(2)

        assert 3 == (await tree.count_children()).specs


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: shards(0), "partitions takes a whole number >= 1, got 0"),
        (lambda: shards(-1), "partitions takes a whole number >= 1, got -1"),
        (lambda: shards(True), "partitions takes a whole number"),
        (lambda: shards(1.5), "partitions takes a whole number"),  # type: ignore[arg-type]
        (lambda: otp.PartitionSupervisor(3, partitions=1), "a child spec or a function"),  # type: ignore[arg-type]
        (lambda: otp.PartitionSupervisor(lambda index: Shard, partitions=1), "instead of a child spec"),  # type: ignore[arg-type, return-value]
        (
            lambda: otp.PartitionSupervisor(kb.child(Shard, 1).options(name="x"), partitions=1),
            "every copy would have the name 'x'",
        ),
        (lambda: shards(1, strategy="some"), "strategy is one of"),
        (lambda: otp.PartitionSupervisor(kb.child(Shard), partitions=1), "do not fit"),  # type: ignore[call-overload]
    ],
)
def test_bad_options_are_refused_by_name(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(kb.UsageError, match=expected):
        make()


async def test_another_class_is_refused_and_costs_the_supervisor_nothing() -> None:
    async with kb.Supervisor(
        kb.child(type(shards()), kb.child(Shard, 1), partitions=2).options(id="s")
    ) as tree:
        ref = tree.ref(otp.PartitionSupervisor, "s")
        with pytest.raises(kb.UsageError, match="is a Shard, not a Asker"):
            await otp.partitions(ref, Asker).ref(1)
        with pytest.raises(kb.UsageError, match="is a Shard, not a Asker"):
            await ref.call(otp.PartitionSupervisor.find, Asker, 1)

        assert 1 == await otp.partitions(ref, Shard).call(1, Shard.where)


async def test_a_group_strategy_restarts_the_copies_together() -> None:
    async with shards(3, strategy="one_for_all") as tree:
        await tree.partition(Shard, 0).call(Shard.put, 0, "lost")
        with pytest.raises(kb.ActorExited):
            await tree.partition(Shard, 2).call(Shard.fail)
        await tree.wait_ready()

        assert await tree.partition(Shard, 0).call(Shard.get, 0) is None


async def test_a_handle_by_name_goes_on_after_a_restart_of_the_supervisor() -> None:
    spec = kb.child(otp.PartitionSupervisor, lambda i: kb.child(Shard, i), partitions=3).options(
        name="shards"
    )
    async with kb.Supervisor(spec) as tree:
        found = otp.partitions("shards", Shard)
        assert 2 == await found.call(2, Shard.where)
        ref = tree.ref(otp.PartitionSupervisor, "PartitionSupervisor")
        old = kb.whereis("shards")
        ref.kill()
        assert old is not None
        await old.wait_exit()
        await tree.wait_ready()

        assert 2 == await found.call(2, Shard.where)


async def test_nobody_under_the_name_is_said_at_once() -> None:
    with pytest.raises(kb.NotRunning):
        await otp.partitions("nobody", Shard).ref(1)


@pytest.mark.slow
async def test_copies_are_spread_over_nodes_and_found_from_each_of_them() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    spread = kb.child(
        otp.PartitionSupervisor, lambda index: kb.child(Shard, index).options(on=kb.spread()), partitions=4
    ).options(id="shards", name="shards")
    asker = kb.child(Asker, "shards").options(id="asker", on="n1")
    async with kb.Supervisor(nodes, spread, asker) as tree:
        shards = otp.partitions("shards", Shard)
        pids = Counter([await ref.call(Shard.pid) for ref in await shards.refs()])
        remote = tree.ref(Asker, "asker")

        assert [2, 2] == list(pids.values())
        assert os.getpid() not in pids
        assert [0, 1, 2, 3] == await remote.call(Asker.indexes)
        assert [0, 3, 1] == [await remote.call(Asker.index_of, key) for key in (4, -3, 9)]


@pytest.mark.slow
async def test_a_lost_node_costs_its_partitions_alone_and_refs_kept_elsewhere_find_their_successors() -> None:
    nodes = kb.child(kb.Supervisor, kb.node("n1"), kb.node("n2"), max_restarts=10).options(id="nodes")
    placed = kb.child(
        otp.PartitionSupervisor, lambda i: kb.child(Shard, i).options(on=f"n{1 + i % 2}"), partitions=2
    ).options(id="shards")
    async with kb.Supervisor(nodes, placed) as tree:
        ref = tree.ref(otp.PartitionSupervisor, "shards")
        asker = await tree.start_child(kb.child(Asker, ref).options(id="asker", on="n2"))
        shards = otp.partitions(ref, Shard)
        await shards.send(1, Shard.put, 1, "kept")
        kept = await asker.call(Asker.keep, 0)
        pid = await shards.call(0, Shard.pid)
        lost = next(
            each.ref for each in await ref.call(otp.PartitionSupervisor.which_children) if each.id == 0
        )
        assert lost is not None
        os.kill(pid, signal.SIGKILL)
        await lost.wait_exit()
        await ref.call(otp.PartitionSupervisor.wait_ready)

        assert pid != await kept.call(Shard.pid)
        assert "kept" == await shards.call(1, Shard.get, 1)
        assert 0 == await asker.call(Asker.index_of, 0)
