"""How soon a writer thread gets its turn beside a busy event loop.

A thread that wants the global lock waits for the interpreter's switch interval, 5 ms by default, before it asks for
it, and a driver gives the lock up around every step of a statement. So beside a loop that works for some milliseconds
at a time a group waited for the end of that at most of its statements, and the two hardly worked at the same time.
The interval is short while a group is in hand, and only then.
"""

from __future__ import annotations

import sys
import threading

__all__ = ["QUICK", "begin_quick_turns", "end_quick_turns"]

#: Seconds.
QUICK = 0.0002

_lock = threading.Lock()
_users = 0
_usual = 0.0


def begin_quick_turns() -> None:
    """Have the threads of this program take turns quickly until as many have ended it as have begun it."""
    global _users, _usual
    with _lock:
        _users += 1
        if _users == 1:
            _usual = sys.getswitchinterval()
            if _usual > QUICK:
                sys.setswitchinterval(QUICK)


def end_quick_turns() -> None:
    """Put back the interval that was there, unless somebody else has set another one meanwhile."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and abs(sys.getswitchinterval() - QUICK) < QUICK / 10:
            sys.setswitchinterval(_usual)
