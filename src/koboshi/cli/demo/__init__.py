"""`koboshi demo`: the task processor on real input while its workers are being killed, with proof."""

from __future__ import annotations

from ._options import command

__all__ = ["command"]
