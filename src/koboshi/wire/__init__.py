"""How processes talk: frames and codecs.

Layer 2: imports the kernel at most.
"""

from __future__ import annotations

from ._errors import FrameBroken, FrameTooLarge, NotPicklable, WireError
from ._frames import DEFAULT_FRAME_LIMIT, FrameReader, pack_frame

__all__ = [
    "DEFAULT_FRAME_LIMIT",
    "FrameBroken",
    "FrameReader",
    "FrameTooLarge",
    "NotPicklable",
    "WireError",
    "pack_frame",
]
