"""Pickles with large buffers beside them, and frames with descriptors."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from koboshi.wire import (
    BuffersLost,
    Descriptor,
    DescriptorFrameReader,
    DescriptorsExhausted,
    Frame,
    FrameBroken,
    FrameReader,
    FrameSender,
    FrameTooLarge,
    pack_fd_frame,
)
from koboshi.wire._buffers import OUT_OF_BAND_FROM, BufferedPickle, pack, unpack

LIMIT = 1 << 26


def packed(value: object, limit: int = LIMIT) -> Any:
    return pack(value, limit, what="a message")


def segments() -> int:
    names = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum("koboshi-buffers" in os.readlink(name) for name in names if os.path.lexists(name))


def mappings() -> int:
    with open("/proc/self/maps") as maps:
        return sum("koboshi-buffers" in line for line in maps)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 100_000,
        bytearray(b"y" * 100_000),
        [b"z" * 100_000, "text", {"k": b"w" * 70_000}],
        ((b"a" * 70_000, 1), {"key": bytearray(70_000)}),
        {"deep": [[[[b"d" * 5000] * 3]]]},
    ],
)
def test_bytes_come_back_equal_and_of_their_type(value: object) -> None:
    back = unpack(packed(value))

    assert value == back
    assert type(value) is type(back)


def test_buffers_go_out_of_band_above_64_kb_in_all_and_not_below() -> None:
    small = [np.zeros(OUT_OF_BAND_FROM // 16), np.zeros(OUT_OF_BAND_FROM // 16)]
    large = [*small, np.zeros(512)]

    assert bytes is type(packed(small))
    assert BufferedPickle is type(packed(large))
    assert bytes is type(packed(b"x" * OUT_OF_BAND_FROM))
    assert BufferedPickle is type(packed(b"x" * (OUT_OF_BAND_FROM + 1)))


def test_arrays_come_back_equal_writable_and_aligned_on_cache_lines() -> None:
    arrays = [np.arange(9000.0), np.ones((300, 70), order="F"), np.arange(5), np.arange(20_000)[::2]]
    back = unpack(packed(arrays))

    for array, copy in zip(arrays, back, strict=True):
        assert np.array_equal(array, copy)
        assert copy.flags.writeable
    assert [0, 0] == [array.ctypes.data % 64 for array in back[:2]]


def test_what_a_receiver_writes_stays_with_it() -> None:
    array = np.zeros(100_000)
    message = packed(array)
    first, second = unpack(message), unpack(message)
    first[:] = 7

    assert 0 == array.sum() == second.sum() == unpack(message).sum()


def test_what_the_sender_writes_after_packing_does_not_arrive() -> None:
    array = np.zeros(100_000)
    message = packed(array)
    array[:] = 7

    assert 0 == unpack(message).sum()


@pytest.mark.parametrize("size", [24, 240_000])
def test_memoryviews_keep_format_shape_and_whether_they_are_read_only(size: int) -> None:
    data = bytearray(os.urandom(size))
    flat = memoryview(data)
    grid = flat.cast("i", (2, size // 8))
    for view in (flat, grid, flat.toreadonly(), flat[::2]):
        back = unpack(packed((view,)))[0]

        assert view.tolist() == back.tolist()
        assert (view.format, view.shape, view.readonly) == (back.format, back.shape, back.readonly)


def test_the_same_bytes_twice_travel_once_and_arrive_as_one_object() -> None:
    data = b"x" * 100_000
    message = packed([data, data])
    one, other = unpack(message)

    assert (100_000,) == message.sizes
    assert one is other


def test_the_limit_counts_what_is_in_band() -> None:
    assert 500_000 == len(unpack(packed(b"x" * 500_000, limit=1000)))
    with pytest.raises(FrameTooLarge, match="a message takes 500,0"):
        packed("x" * 500_000, limit=1000)


def test_what_cannot_be_pickled_is_said_as_pickle_says_it() -> None:
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        packed([threading.Lock(), b"x" * 100_000])


def test_a_segment_lives_as_long_as_its_message_and_its_mapping_as_long_as_the_array() -> None:
    message = packed(np.zeros(100_000))
    assert (1, 0) == (segments(), mappings())
    array = unpack(message)
    assert (1, 1) == (segments(), mappings())
    del message
    assert (0, 1) == (segments(), mappings())
    assert 0 == array.sum()
    del array
    assert (0, 0) == (segments(), mappings())


def send(sock: socket.socket, *messages: Any) -> None:
    sender = FrameSender(sock)
    for message in messages:
        sender.put(pack_fd_frame(pickle.dumps(message, 5), 1), [message.segment])
    assert sender.flush()


def load(frame: Frame) -> Any:
    message = pickle.loads(frame.payload)
    message.attach(frame.descriptors[0])
    return message.load()


def test_descriptors_arrive_with_their_frames_however_the_stream_is_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    for size in (1, 7, 100, 10_000):
        sender = FrameSender(pair[0])
        arrays = [np.full(10_000, number) for number in range(5)]
        for array in arrays:
            message = packed(array)
            sender.put(pack_fd_frame(b"plain", 0))
            sender.put(pack_fd_frame(pickle.dumps(message, 5), 1), [message.segment])
        assert sender.flush()
        del message
        sender.clear()
        reader = DescriptorFrameReader()
        frames: list[Frame] = []
        while len(frames) < 10:
            frames += reader.receive(pair[1], size) or []

        assert [b"plain"] * 5 == [bytes(frame.payload) for frame in frames[::2]]
        assert [0, 1, 2, 3, 4] == [load(frame)[0] for frame in frames[1::2]]
        assert 0 == segments()


def test_a_partial_send_gives_descriptors_once(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].setblocking(False)
    message = packed(np.arange(10_000))
    payload = pickle.dumps(message, 5) + bytes(3_000_000)
    sender = FrameSender(pair[0])
    for _ in range(3):
        sender.put(pack_fd_frame(payload, 1), [message.segment])
    assert not sender.flush()
    reader = DescriptorFrameReader()
    frames: list[Frame] = []
    while len(frames) < 3:
        frames += reader.receive(pair[1], 1 << 16) or []
        sender.flush()

    assert [9999] * 3 == [load(frame)[-1] for frame in frames]
    assert 0 == sender.pending
    assert 1 == segments()


def test_a_frame_is_passed_on_with_its_descriptors_without_being_mapped(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    send(pair[0], packed(np.arange(10_000)))
    frames = DescriptorFrameReader().receive(pair[1], 1 << 16)
    assert frames is not None
    [(payload, descriptors)] = frames
    assert (1, 0) == (segments(), mappings())
    sender = FrameSender(pair[1])
    kept = [descriptor for descriptor in descriptors if descriptor is not None]
    sender.put(pack_fd_frame(bytes(payload), len(kept)), kept)
    assert sender.flush()
    again = DescriptorFrameReader().receive(pair[0], 1 << 16)
    assert again is not None

    assert 9999 == load(again[0])[-1]


def test_a_frame_that_is_dropped_closes_its_descriptors(pair: tuple[socket.socket, socket.socket]) -> None:
    message = packed(np.arange(10_000))
    send(pair[0], message)
    pair[0].send(pack_fd_frame(b"x" * 100, 1)[:20])
    reader = DescriptorFrameReader()
    frames = reader.receive(pair[1], 1 << 16)
    assert 2 == segments()
    del frames
    assert 1 == segments()
    del message
    assert 0 == segments()


def test_descriptors_without_their_frame_are_closed_with_the_reader(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    message = packed(np.arange(10_000))
    data = pack_fd_frame(pickle.dumps(message, 5), 1)
    sender = FrameSender(pair[0])
    sender.put(data[:10], [message.segment])
    assert sender.flush()
    del message
    sender.clear()
    reader = DescriptorFrameReader()
    assert [] == reader.receive(pair[1], 1 << 16)
    assert 1 == segments()
    reader.drop()
    assert 0 == segments()


def test_a_frame_whose_descriptors_never_came_is_broken(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].send(pack_fd_frame(b"x", 2))
    with pytest.raises(FrameBroken, match="takes 2 descriptors, 0 came"):
        DescriptorFrameReader().receive(pair[1], 100)


def test_a_reader_without_descriptors_refuses_frames_with_some() -> None:
    with pytest.raises(FrameTooLarge):
        FrameReader().feed(pack_fd_frame(b"x", 1))


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_without_descriptors_to_spare_a_message_goes_in_band_or_says_why_not() -> None:
    held = []
    while type(message := packed(b"x" * 100_000)) is BufferedPickle:
        held.append(message)

    assert 32 == len(held)
    assert 100_000 == len(unpack(message))
    with pytest.raises(DescriptorsExhausted, match="32 messages with large buffers are waiting"):
        packed(b"x" * 100_000, limit=1000)


@pytest.mark.usefixtures("few_descriptors")
def test_a_receiver_without_descriptors_loses_the_buffers_of_that_message_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    first, second = packed(np.arange(10_000)), packed(np.arange(20_000))
    send(pair[0], first, second)
    reader = DescriptorFrameReader()
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    lost = reader.receive(pair[1], 1 << 16)
    for fd in taken:
        os.close(fd)
    frames = reader.receive(pair[1], 1 << 16)
    assert lost is not None
    assert frames is not None

    with pytest.raises(BuffersLost, match="without its 80,000 bytes of buffers"):
        load(lost[0])
    assert 19_999 == load(frames[0])[-1]


def test_a_thousand_arrays_hold_no_descriptors() -> None:
    arrays = []
    for _ in range(1000):
        message = packed(np.zeros(10_000))
        message.attach(Descriptor(os.dup(message.segment.fd)))
        arrays.append(message.load())
    del message

    assert 0 == segments()
    assert 1000 == mappings()


def test_a_truncated_segment_is_refused_before_it_is_read() -> None:
    message = packed(np.zeros(10_000))
    os.ftruncate(message.segment.fd, 100)
    with pytest.raises(FrameBroken, match="should have 80,000 bytes, it has 100"):
        unpack(message)


_TOO_MANY = """
import array, errno, os, resource, socket, sys
from koboshi.wire import FrameSender, pack_fd_frame
from koboshi.wire._buffers import pack
from koboshi.wire._fd_frames import too_many_in_flight
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
if os.geteuid() == 0:
    os.setuid(54321)
a, b = socket.socketpair()
a.setblocking(False)
message = pack(bytes(100_000), 1000, what="x")
sender = FrameSender(a)
for _ in range(150):
    sender.put(pack_fd_frame(b"x", 1), [message.segment])
try:
    sender.flush()
except OSError as error:
    assert too_many_in_flight(error), error
else:
    sys.exit("nothing was raised")
before = sender.pending
while b.recvmsg(100, 1000, socket.MSG_DONTWAIT)[0] and sender.pending:
    try:
        sender.flush()
    except OSError as error:
        assert too_many_in_flight(error), error
print(before > 0, sender.pending)
"""


def test_too_many_descriptors_in_flight_can_be_sent_when_some_have_arrived() -> None:
    done = subprocess.run([sys.executable, "-c", _TOO_MANY], capture_output=True, text=True, check=False)

    assert ("True 0\n", "") == (done.stdout, done.stderr)


def test_nothing_is_left_here() -> None:
    gc.collect()
    assert (0, 0) == (segments(), mappings())
