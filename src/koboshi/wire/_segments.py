"""Memory that travels: a memfd written once, sent as a descriptor, mapped where it is read.

A segment has no name in any file system. The kernel frees it when the last process that
holds it has closed it, unmapped it or died, so nothing of it can be left behind.

`os.pwrite` fills it without mapping: the kernel copies straight into fresh pages, which takes
less than half the time of faulting them in and copying into a mapping.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

from ._errors import DescriptorsExhausted, FrameBroken

__all__ = ["SEGMENT_NAME", "Descriptor", "map_segment", "write_segment"]

SEGMENT_NAME = "koboshi-buffers"
"""What segments are called in /proc/<pid>/fd and /proc/<pid>/maps, as `memfd:koboshi-buffers`."""

_ALIGNMENT = 64
# Of the descriptors that a process may have open, segments take at most one in _SHARE.
_SHARE = 2


class Descriptor:
    """An open descriptor with one owner; closed by `close`, or when nobody refers to it any more.

    A message may be dropped in many places: a job is cancelled, a peer dies, a queue is cleared.
    Descriptors follow the references to their message, so none of these places has to know them.
    """

    __slots__ = ("_counted", "fd")

    # Segments that this process wrote and still has open.
    written = 0

    def __init__(self, fd: int, *, counted: bool = False) -> None:
        self.fd = fd
        self._counted = counted
        if counted:
            Descriptor.written += 1

    def __repr__(self) -> str:
        return f"<Descriptor {'closed' if self.fd < 0 else self.fd}>"

    def close(self) -> None:
        """Close it; harmless when repeated."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            if self._counted:
                Descriptor.written -= 1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def write_segment(buffers: Sequence[memoryview]) -> Descriptor:
    """Return a new segment that holds `buffers`, each a contiguous view of bytes, at the places of `layout`.

    Raises:
        DescriptorsExhausted: this process has no descriptor to spare for it.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and Descriptor.written >= limit // _SHARE:
        raise DescriptorsExhausted(Descriptor.written, limit)
    try:
        fd = os.memfd_create(SEGMENT_NAME, os.MFD_CLOEXEC)
    except OSError as error:
        raise DescriptorsExhausted(Descriptor.written, limit) from error
    segment = Descriptor(fd, counted=True)
    try:
        places, end = layout([len(buffer) for buffer in buffers])
        os.ftruncate(fd, end)
        for place, buffer in zip(places, buffers, strict=True):
            _write_at(fd, buffer, place)
    except BaseException:
        segment.close()
        raise
    return segment


def _write_at(fd: int, buffer: memoryview, place: int) -> None:
    done = 0
    while done < len(buffer):
        done += os.pwrite(fd, buffer[done:], place + done)


def layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return where buffers of these sizes begin, each on a cache line of its own, and where the last ends."""
    places: list[int] = []
    end = 0
    for size in sizes:
        place = -(-end // _ALIGNMENT) * _ALIGNMENT
        places.append(place)
        end = place + size
    return places, end


def map_segment(segment: Descriptor, sizes: Sequence[int]) -> list[memoryview]:
    """Return writable views of the buffers of a segment; they outlive the descriptor.

    The mapping is private: what is written into it is copied page by page, and neither the sender,
    who may have to send the segment again, nor another receiver sees it.
    """
    places, end = layout(sizes)
    actual = os.fstat(segment.fd).st_size
    if actual < end:
        # Reading behind its end would be a SIGBUS.
        raise FrameBroken(f"a segment should have {end:,} bytes, it has {actual:,}")
    whole = memoryview(_map_private(segment.fd, end))
    return [whole[place : place + size] for place, size in zip(places, sizes, strict=True)]


if sys.version_info >= (3, 13):

    def _map_private(fd: int, size: int) -> mmap.mmap:
        return mmap.mmap(
            fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, trackfd=False
        )

else:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    )
    _MAP_FIXED = 0x10
    _MAP_FAILED = ctypes.c_void_p(-1).value

    def _map_private(fd: int, size: int) -> mmap.mmap:
        # mmap.mmap(fd) keeps a duplicate of the descriptor for as long as the mapping lives, so a list of
        # a thousand arrays would exhaust them. So Python maps and owns the addresses, without a file,
        # and the segment is then put there.
        prot = mmap.PROT_READ | mmap.PROT_WRITE
        owner = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=prot)
        anchor: Any = ctypes.c_char.from_buffer(owner)
        address = ctypes.addressof(anchor)
        if _libc.mmap(address, size, prot, mmap.MAP_PRIVATE | _MAP_FIXED, fd, 0) == _MAP_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, f"mapping a segment of {size:,} bytes failed: {os.strerror(code)}")
        return owner
