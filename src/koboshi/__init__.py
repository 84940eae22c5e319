"""koboshi: OTP for Python. Supervised actors, every core, and work that outlives its workers."""

from __future__ import annotations

from ._kernel._actor import Actor
from ._kernel._bonds import Monitor
from ._kernel._context import correlation_id
from ._kernel._dynamic import DynamicSupervisor
from ._kernel._errors import (
    ActorExited,
    AlreadyPresent,
    AlreadyStarted,
    CallCycle,
    CallError,
    CallTimeout,
    ChildError,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    HandlerTimeout,
    KoboshiError,
    MailboxFull,
    NameTaken,
    NotInProcess,
    NotRunning,
    StartError,
    StartTimeout,
    SupervisorGaveUp,
    TooManyChildren,
    UsageError,
    WrongThread,
)
from ._kernel._lifecycle import IGNORE, Ignored, Stop
from ._kernel._message import Message, message
from ._kernel._process import Process, receive, spawn, spawn_link, spawn_monitor
from ._kernel._reasons import (
    Crashed,
    Down,
    Exit,
    Exited,
    ExitReason,
    FailedToStart,
    GaveUp,
    Kill,
    Killed,
    NoConnection,
    Normal,
    NoProc,
    RemoteError,
    Shutdown,
    Timeout,
)
from ._kernel._ref import ActorRef
from ._kernel._reply import Alias, ReplyTo, alias, defer, time_left
from ._kernel._restart import Backoff, Budget
from ._kernel._run import run
from ._kernel._self import (
    ProcessInfo,
    info,
    link,
    me,
    monitor,
    named,
    processes,
    register,
    start,
    start_link,
    trap_exits,
    unlink,
    unregister,
    whereis,
)
from ._kernel._spec import ChildSpec, child
from ._kernel._supervisor import ChildInfo, Counts, Supervisor
from ._kernel._threadsafe import ThreadsafeRef
from ._kernel._timers import Timer
