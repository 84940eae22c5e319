"""How processes talk: frames, descriptors that go with them, and codecs.

Layer 2: imports the kernel at most.
"""

from __future__ import annotations

from ._errors import (
    BuffersLost,
    DescriptorsExhausted,
    FrameBroken,
    FrameTooLarge,
    NotPicklable,
    WireError,
)
from ._fd_frames import DescriptorFrameReader, Frame, FrameSender, pack_fd_frame
from ._frames import DEFAULT_FRAME_LIMIT, FrameReader, pack_frame
from ._segments import Descriptor

__all__ = [
    "DEFAULT_FRAME_LIMIT",
    "BuffersLost",
    "Descriptor",
    "DescriptorFrameReader",
    "DescriptorsExhausted",
    "Frame",
    "FrameBroken",
    "FrameReader",
    "FrameSender",
    "FrameTooLarge",
    "NotPicklable",
    "WireError",
    "pack_fd_frame",
    "pack_frame",
]
