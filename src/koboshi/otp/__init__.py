"""OTP's behaviours, and the patterns that services are built from: `from koboshi import otp`.

Each has a room of its own below this package and a guide in the documentation. They work across the worker
nodes of one machine as inside one process.
"""

from __future__ import annotations

from types import FunctionType

from ._agent import Agent, AgentHandle, AgentStatistics, agent
from ._partitions import NoPartitions, Partitions, PartitionSupervisor, partition_number, partitions
from .application._application import Application
from .application._applications import ApplicationEnded, ApplicationInfo, Applications, ApplicationsStatistics
from .application._config import load_config
from .application._config_errors import ConfigError
from .application._errors import (
    ApplicationFailed,
    ApplicationInUse,
    ApplicationNotStarted,
    DependencyCycle,
    MissingDependency,
)
from .application._secret import Secret
from .checkout._handle import Checkout, Checkouts, checkout_pool
from .checkout._pool import CheckoutPool, CheckoutStatistics, NoWorkerFree, TooManyWaiting
from .event_manager import (
    EventHandler,
    EventManager,
    EventManagerHandle,
    EventManagerStatistics,
    HandlerCrashed,
    HandlerError,
    HandlerFailed,
    HandlerGone,
    HandlerNotFound,
    HandlerPresent,
    HandlerSpec,
    event_manager,
    handler,
)
from .failover._events import ChangedOver, ItemRejected, SourceFailed
from .failover._failover import Failover, FailoverStatistics, SourceInfo
from .failover._sources import Feed, NotActive, Poll, Push
from .groups import GroupMonitor, Groups, GroupsHandle, GroupsStatistics, Joined, Left, NotJoined, groups
from .hot_code import UpgradeFailed, upgrade, upgrade_module
from .introspection import (
    DONE,
    ActorStatistics,
    ActorStatus,
    DebugRemoved,
    MessageFailed,
    MessageIn,
    MessageOut,
    StateChange,
    TraceEvent,
    get_state,
    get_status,
    install,
    log,
    no_debug,
    remove,
    replace_state,
    resume,
    statistics,
    suspend,
    trace,
)
from .pubsub import PubSub, PubSubHandle, PubSubStatistics, pubsub
from .registry import (
    AlreadyRegistered,
    Registered,
    Registration,
    Registry,
    RegistryHandle,
    RegistryStatistics,
    Unregistered,
    registry,
)
from .resilience._breaker import BreakerStatistics, CircuitBreaker
from .resilience._bulkhead import Bulkhead, BulkheadPlace, BulkheadStatistics
from .resilience._fallback import Fallback, FallbackStatistics, fallback
from .resilience._rate import RateLimiter, RateStatistics
from .resilience._refusals import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpen,
    BreakerOpened,
    BulkheadFull,
    FellBack,
    Overloaded,
    RateLimited,
    Refused,
    Relieved,
    Saturated,
)
from .resilience._shedder import LoadShedder, ShedderStatistics
from .routers._router import Router, router
from .routers._statistics import RouteeInfo, RouterStatistics
from .statemachine._declare import event, timeout, when
from .statemachine._machine import Snapshot, StateMachine, StateMachineStatistics
from .statemachine._table import ANY_STATE, ENTER, EVENT_TIMEOUT, INFO, STATE_TIMEOUT
from .statemachine._turn import UnexpectedEvent
from .tasks import (
    Failed,
    NotTaskOwner,
    Ok,
    Outcome,
    StreamStatistics,
    Task,
    Tasks,
    TaskStream,
    TaskSupervisor,
    TaskSupervisorStatistics,
    poll_many,
    task,
    task_nolink,
    task_stream,
    tasks,
    wait_many,
)

__all__ = [
    "ANY_STATE",
    "DONE",
    "ENTER",
    "EVENT_TIMEOUT",
    "INFO",
    "STATE_TIMEOUT",
    "ActorStatistics",
    "ActorStatus",
    "Agent",
    "AgentHandle",
    "AgentStatistics",
    "AlreadyRegistered",
    "Application",
    "ApplicationEnded",
    "ApplicationFailed",
    "ApplicationInUse",
    "ApplicationInfo",
    "ApplicationNotStarted",
    "Applications",
    "ApplicationsStatistics",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpen",
    "BreakerOpened",
    "BreakerStatistics",
    "Bulkhead",
    "BulkheadFull",
    "BulkheadPlace",
    "BulkheadStatistics",
    "ChangedOver",
    "Checkout",
    "CheckoutPool",
    "CheckoutStatistics",
    "Checkouts",
    "CircuitBreaker",
    "ConfigError",
    "DebugRemoved",
    "DependencyCycle",
    "EventHandler",
    "EventManager",
    "EventManagerHandle",
    "EventManagerStatistics",
    "Failed",
    "Failover",
    "FailoverStatistics",
    "Fallback",
    "FallbackStatistics",
    "Feed",
    "FellBack",
    "GroupMonitor",
    "Groups",
    "GroupsHandle",
    "GroupsStatistics",
    "HandlerCrashed",
    "HandlerError",
    "HandlerFailed",
    "HandlerGone",
    "HandlerNotFound",
    "HandlerPresent",
    "HandlerSpec",
    "ItemRejected",
    "Joined",
    "Left",
    "LoadShedder",
    "MessageFailed",
    "MessageIn",
    "MessageOut",
    "MissingDependency",
    "NoPartitions",
    "NoWorkerFree",
    "NotActive",
    "NotJoined",
    "NotTaskOwner",
    "Ok",
    "Outcome",
    "Overloaded",
    "PartitionSupervisor",
    "Partitions",
    "Poll",
    "PubSub",
    "PubSubHandle",
    "PubSubStatistics",
    "Push",
    "RateLimited",
    "RateLimiter",
    "RateStatistics",
    "Refused",
    "Registered",
    "Registration",
    "Registry",
    "RegistryHandle",
    "RegistryStatistics",
    "Relieved",
    "RouteeInfo",
    "Router",
    "RouterStatistics",
    "Saturated",
    "Secret",
    "ShedderStatistics",
    "Snapshot",
    "SourceFailed",
    "SourceInfo",
    "StateChange",
    "StateMachine",
    "StateMachineStatistics",
    "StreamStatistics",
    "Task",
    "TaskStream",
    "TaskSupervisor",
    "TaskSupervisorStatistics",
    "Tasks",
    "TooManyWaiting",
    "TraceEvent",
    "UnexpectedEvent",
    "Unregistered",
    "UpgradeFailed",
    "agent",
    "checkout_pool",
    "event",
    "event_manager",
    "fallback",
    "get_state",
    "get_status",
    "groups",
    "handler",
    "install",
    "load_config",
    "log",
    "no_debug",
    "partition_number",
    "partitions",
    "poll_many",
    "pubsub",
    "registry",
    "remove",
    "replace_state",
    "resume",
    "router",
    "statistics",
    "suspend",
    "task",
    "task_nolink",
    "task_stream",
    "tasks",
    "timeout",
    "trace",
    "upgrade",
    "upgrade_module",
    "wait_many",
    "when",
]

# Tracebacks and pickles name what users import, so files can move.
for _name in __all__:
    _found = globals()[_name]
    if isinstance(_found, type | FunctionType) and _found.__module__.startswith("koboshi.otp."):
        _found.__module__ = "koboshi.otp"
