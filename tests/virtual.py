"""Virtual time as the library ships it, under the names that this suite has always used."""

from __future__ import annotations

from koboshi.testing import VirtualLoop, run_virtual

__all__ = ["VirtualLoop", "run_virtual"]
