"""Deterministic tests of what is built with koboshi: `from koboshi import testing`.

Virtual time, waiting until nothing is left to do, probes, faults on purpose, orders of turns drawn from a
seed, and recorded message protocols.
"""

from __future__ import annotations

from ._explore import Livelock, NotDeterministic, Run, explore, replay, run_seed
from ._faults import (
    Fault,
    InjectedCrash,
    crash_after,
    crash_on,
    delay_replies,
    full_mailbox,
    kill_on,
    kill_process,
)
from ._idle import StillBusy, wait_idle
from ._probe import Probe, ReceivedCall, Unexpected
from ._protocol import ProtocolChanged, ProtocolNotRecorded, check_protocol, protocol
from ._time import VirtualLoop, clock, run_virtual, virtual_time

__all__ = [
    "Fault",
    "InjectedCrash",
    "Livelock",
    "NotDeterministic",
    "Probe",
    "ProtocolChanged",
    "ProtocolNotRecorded",
    "ReceivedCall",
    "Run",
    "StillBusy",
    "Unexpected",
    "VirtualLoop",
    "check_protocol",
    "clock",
    "crash_after",
    "crash_on",
    "delay_replies",
    "explore",
    "full_mailbox",
    "kill_on",
    "kill_process",
    "protocol",
    "replay",
    "run_seed",
    "run_virtual",
    "virtual_time",
    "wait_idle",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    if str(getattr(globals()[_name], "__module__", "")).startswith("koboshi.testing."):
        globals()[_name].__module__ = "koboshi.testing"
