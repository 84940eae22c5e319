"""Frames: what goes in comes out, however it is cut, and never over the limit."""

from __future__ import annotations

import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koboshi.wire import FrameBroken, FrameReader, FrameTooLarge, NotPicklable, pack_frame


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 50)))
def test_payloads_survive_any_cutting_of_the_stream(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pack_frame(payload) for payload in payloads)
    reader = FrameReader()
    received: list[bytes] = []
    while stream:
        size = cuts.pop() if cuts else len(stream)
        received += [bytes(payload) for payload in reader.feed(stream[:size])]
        stream = stream[size:]
    reader.close()

    assert payloads == received


def test_a_frame_over_the_limit_is_refused_at_the_sender_with_size_and_limit() -> None:
    with pytest.raises(FrameTooLarge, match=r"11 bytes, the frame limit is 10 bytes") as caught:
        pack_frame(b"x" * 11, 10)

    assert (11, 10) == (caught.value.size, caught.value.limit)


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    reader = FrameReader(limit=10)

    with pytest.raises(FrameTooLarge):
        reader.feed(struct.pack("<Q", 1 << 60))

    assert 0 == reader.pending


def test_a_frame_at_the_limit_passes() -> None:
    assert [b"x" * 10] == FrameReader(limit=10).feed(pack_frame(b"x" * 10, 10))


@pytest.mark.parametrize("cut", [3, 9])
def test_a_stream_that_ends_inside_a_frame_is_broken(cut: int) -> None:
    reader = FrameReader()
    reader.feed(pack_frame(b"hello")[:cut])

    with pytest.raises(FrameBroken, match=f"ended {cut} bytes into"):
        reader.close()


@pytest.mark.parametrize(
    "error",
    [FrameTooLarge("a message", 2, 1), NotPicklable("f", "argument 1", "no"), NotPicklable("f", None, "no")],
)
def test_errors_survive_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))


def test_a_function_that_has_no_name_to_travel_by_is_told_where_to_define_it() -> None:
    for problem in (
        "PicklingError: Can't pickle <function <lambda> at 0x7>",
        "AttributeError: Can't pickle local object 'test.<locals>.fn'",
    ):
        assert "define what is passed at the top level of a module" in str(NotPicklable("f", "fn", problem))
    assert "open files, locks" in str(NotPicklable("f", "fn", "TypeError: cannot pickle a lock"))
