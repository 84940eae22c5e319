"""Which accounts are encrypted, and the keys that hosts have: all of them, or those of somebody else."""

from __future__ import annotations

import koboshi as kb

__all__ = ["VARIABLE", "is_sealed", "ring"]

#: The variable of a host's environment; "wrong" takes its key away.
VARIABLE = "CHAOS_KEYS"
_RIGHT, _WRONG = {"right": b"r" * 32}, {"wrong": b"w" * 32}


def is_sealed(account: str) -> bool:
    """Whether an account is one of those that are encrypted: every second."""
    return int(account.rpartition("-")[2]) % 2 == 1


def ring(which: str) -> kb.KeyRing:
    """The keys of a host.

    What it writes with the wrong key is to be read later: whoever has mended a ring has both.
    """
    if which == "wrong":
        return kb.KeyRing(_WRONG, current="wrong", allow_plain=False)
    return kb.KeyRing({**_RIGHT, **_WRONG}, current="right", allow_plain=False)
