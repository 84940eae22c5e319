"""The cell: what runs one actor or one bare process. All of its states live here.

A cell is in exactly one state, and only the event loop's thread changes it:

    IDLE       nothing to do; a call to a plain `def` message may run on the spot
    RESTING    like IDLE, with an idle timer armed, so the shortcut is closed
    QUEUED     in the node's run queue, exactly once, because it has mail or its task can go on
    RUNNING    its code is on the stack now
    PARKED     its task waits for a reply, a message or a future; other mail waits meanwhile
    STOPPING   its own code asked for the end; the handler in hand finishes first
    DOOMED     an exit signal reached it; it is in the run queue, or on the stack, to be ended
    SUSPENDED  it takes mail and handles none but system messages until it is resumed
    DEAD       gone; whatever was waiting for it has been told
    REMOTE     it stands for a cell of another node, see `_route`

An idle cell owns no deque, no dict and no task: what most cells never need is in `bonds`
(who must hear of its end) and `traits` (how it differs from the ordinary), both None at first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ._errors import MailboxFull
from ._events import Dropped
from ._message import Protocol, describe
from ._reasons import Down, Exit

if TYPE_CHECKING:
    from ._actor import ActorClass
    from ._bonds import Bonds
    from ._message import Entry
    from ._node import Node
    from ._reasons import ExitReason
    from ._ref import ActorRef
    from ._task import CellTask
    from ._wait import Request, Wait

IDLE = 0
RESTING = 1
QUEUED = 2
RUNNING = 3
PARKED = 4
STOPPING = 5
DOOMED = 6
SUSPENDED = 7
DEAD = 8
REMOTE = 9
STATE_NAMES = (
    "idle", "idle", "queued", "running", "waiting", "stopping", "stopping", "suspended", "dead", "remote",
)  # fmt: skip

DEFAULT_LIMIT = 65_536
POLICIES = ("reject", "drop_newest", "drop_oldest", "crash")

# One message on its way: what to run, its positional arguments and its keywords, the sender's context,
# and the call that waits for the result, if one does. With None for the keywords there is exactly one
# argument, and it stands in place of the tuple: most casts are so, and a queue of them is half the size.
Item = tuple[Callable[..., Any], Any, "dict[str, Any] | None", Context, "Request | None"]

# What stands in an item's place while a call runs on its caller's stack: the message, the calling
# cell, and the ref that was called.
Shortcut = tuple["Entry", "Cell | None", "ActorRef[Any]"]

NO_PROTOCOL: Protocol = {}
NO_KWARGS: dict[str, Any] = {}


class Traits:
    """What sets a cell apart from the ordinary one; only such a cell has it."""

    __slots__ = ("idle_after", "idle_timer", "kept", "policy", "room", "suspended")

    def __init__(self) -> None:
        self.policy = "reject"
        # Senders that wait for room, each with what it will have delivered.
        self.room: deque[tuple[Wait, Item]] | None = None
        self.suspended = False
        # What upper layers keep of the cell, each under a key of its own.
        self.kept: dict[str, Any] = {}
        self.idle_after: float | None = None
        self.idle_timer: Any = None


class Cell:
    """Runs one actor or bare process. Private: users hold an `ActorRef`."""

    __slots__ = (
        "__weakref__",
        "actor",
        "bonds",
        "doom",
        "handled",
        "held",
        "id",
        "info",
        "limit",
        "mailbox",
        "node",
        "parent",
        "protocol",
        "state",
        "stop_due",
        "task",
        "traits",
    )

    def __init__(self, node: Node, info: ActorClass, parent: Cell | None) -> None:
        self.node = node
        self.info = info
        self.parent = parent
        self.state = RUNNING
        # Emptied at the end, so that a sender's one look-up also finds out that nobody is here.
        self.protocol = info.protocol
        self.limit = info.limit
        self.actor: Any = None
        self.mailbox: deque[Item] | None = None
        self.task: CellTask | None = None
        self.bonds: Bonds | None = None
        self.traits: Traits | None = None
        # The exit reason that it will end with, once something has decided on one.
        self.doom: ExitReason | None = None
        # Whether `on_stop` is still to run: from a successful start until it has begun or a kill came.
        self.stop_due = False
        # The call in hand when the end began, and the reply that it may still get.
        self.held: tuple[Request, Any, bool] | None = None
        self.handled = 0
        # A number, but for stand-ins of cells elsewhere, whose ids are addresses.
        self.id: Any
        node.last_id = self.id = node.last_id + 1
        node.cells[self.id] = self

    # -- mail ------------------------------------------------------------------------------

    def post(self, item: Item) -> None:
        """Append what must never be lost: exit and down messages, timers, stop requests."""
        if self.state == DEAD:
            return
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.append(item)
        self.arrived(item)

    def post_first(self, item: Item) -> None:
        """Put an item before all waiting mail."""
        if self.mailbox is None:
            self.mailbox = deque()
        self.mailbox.appendleft(item)
        self.arrived(item)

    def offer(self, item: Item) -> None:
        """Append within the mailbox's limit, or do what its policy says.

        Raises:
            MailboxFull: the policy is `reject`.
        """
        if self.mailbox is None:
            self.mailbox = deque()
        elif len(self.mailbox) >= self.limit and not self.make_room(item):
            return
        self.mailbox.append(item)
        self.arrived(item)

    def arrived(self, item: Item) -> None:
        """Get the cell to work on new mail, if it is not working already."""
        state = self.state
        if state == PARKED:
            task = self.task
            if task is not None and task.wait is not None:
                task.wait.mail(item)
        elif state <= RESTING:
            self.state = QUEUED
            self.node.enqueue(self)
        elif state == SUSPENDED:
            if self.must_end(item):
                self.condemn(item[1])
            elif item[0] is self.info.system:
                self.rest()

    def must_end(self, item: Item) -> bool:
        """Whether an item is its parent's exit or a stop request: suspended or not, it is obeyed."""
        return item[0] is self.info.parent_exit or item[0] is self.info.stop_request

    def make_room(self, item: Item) -> bool:
        """Apply the overflow policy; returns whether the item may be appended."""
        policy = "reject" if self.traits is None else self.traits.policy
        mailbox = self.mailbox
        assert mailbox is not None
        if policy == "reject":
            raise MailboxFull(self.label(), describe(item[0]), self.limit)
        if policy == "crash":
            if self.state != DOOMED:
                # Not as the call in hand: that may be another one, which has to be told of the end as well.
                error = MailboxFull(self.label(), describe(item[0]), self.limit)
                self.node.crash(self, error, (*item[:4], None))
            return item[4] is not None  # a call is told of the end with the rest of the mailbox
        victim = item
        if policy == "drop_oldest":
            for index, each in enumerate(mailbox):
                if self.may_drop(each):
                    victim = each
                    del mailbox[index]
                    break
        if victim[4] is not None:
            victim[4].fail(MailboxFull(self.label(), describe(victim[0]), self.limit))
        self.node.instruments.emit(Dropped(self.label(), describe(victim[0]), self.limit))
        return victim is not item

    def may_drop(self, item: Item) -> bool:
        """Whether an item is a message: signals and what the runtime itself has posted are kept."""
        fn, info = item[0], self.info
        if fn is info.on_info:  # all mail of a bare process comes so, its signals too
            return not isinstance(item[1], Down | Exit)
        own = (info.on_down, info.on_exit, info.on_continue, info.on_idle, info.system)
        return fn not in own and not self.must_end(item)

    def rest(self) -> None:
        """End a turn: back into the run queue when mail is waiting, else idle."""
        traits = self.traits
        if traits is not None:
            if traits.room:
                self.admit(traits.room)
            if traits.suspended:
                self.state = SUSPENDED
                self.look_for_orders()
                return
        if self.mailbox:
            self.state = QUEUED
            self.node.enqueue(self)
        else:
            self.mailbox = None
            self.state = IDLE
            if traits is not None and traits.idle_after is not None:
                self.state = RESTING
                self.node.arm_idle(self, traits)

    def look_for_orders(self) -> None:
        """Find what a suspended cell still obeys: a system message is served, an order to end is followed."""
        mailbox = self.mailbox
        for index, item in enumerate(mailbox or ()):
            if self.must_end(item):
                self.condemn(item[1])
                return
            if item[0] is self.info.system:
                assert mailbox is not None
                del mailbox[index]
                mailbox.appendleft(item)
                self.state = QUEUED
                self.node.enqueue(self)
                return

    def wait_room(self, sender: Wait, item: Item) -> None:
        """Take an item in as soon as there is room, and wake its sender then."""
        traits = self.own_traits()
        if traits.room is None:
            traits.room = deque()
        if len(traits.room) & 63 == 63:  # those that were given up are taken out by nobody else
            traits.room = deque(each for each in traits.room if not each[0].done)
        traits.room.append((sender, item))

    def admit(self, room: deque[tuple[Wait, Item]]) -> None:
        """Take in what waits for room, the oldest first, one for each free place.

        It is put in here and not by its sender, which runs only later: meanwhile somebody else would
        have taken the place.
        """
        if self.mailbox is None:
            self.mailbox = deque()
        while room and len(self.mailbox) < self.limit:
            sender, item = room.popleft()
            if sender.wake(None, None):
                self.mailbox.append(item)

    def become(self, info: ActorClass, run: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Go on with another class record; `run` gives what is run in place of what the mail names."""
        self.info, self.protocol = info, info.protocol
        if self.mailbox:
            renamed = [(run(item[0]), *item[1:]) for item in self.mailbox]
            self.mailbox.clear()  # the same deque: a turn may be going through it
            self.mailbox.extend(renamed)
        if self.traits is not None and self.traits.room:
            room = [(sender, (run(item[0]), *item[1:])) for sender, item in self.traits.room]
            self.traits.room.clear()
            self.traits.room.extend(room)

    # -- the end ---------------------------------------------------------------------------

    def condemn(self, reason: ExitReason, *, kill: bool = False) -> None:
        """Decide the exit reason and get the cell ended at its next turn.

        The first reason stands, but for a kill, which nothing can outdo. An end that the cell's own
        handler has asked for, while it still waits for something, gives way to any signal.
        """
        if self.state == DEAD:
            return
        if self.doom is not None and not kill:
            task = self.task
            if self.state == DOOMED or task is None or task.aborting or task.kind == "on_stop":
                return
        self.doom = reason
        if kill:
            self.stop_due = False
        state = self.state
        self.state = DOOMED
        if state in (IDLE, RESTING, PARKED, SUSPENDED):
            self.node.enqueue(self)

    def tied(self) -> None:
        """Its bonds have just been made: somebody will have to hear of its end."""

    # -- what it is called -----------------------------------------------------------------

    def own_traits(self) -> Traits:
        """The cell's traits, made on first use."""
        if self.traits is None:
            self.traits = Traits()
        return self.traits

    def label(self) -> str:
        """Path in its supervision tree, else its class and number."""
        if self.bonds is not None and self.bonds.place is not None:
            return self.bonds.place.label()
        return f"{self.info.name}#{self.id}"

    def ancestors(self) -> tuple[str, ...]:
        """Labels of who started it, nearest first."""
        labels: list[str] = []
        parent = self.parent
        while parent is not None:
            labels.append(parent.label())
            parent = parent.parent
        return tuple(labels)

    def __repr__(self) -> str:
        return f"<Cell {self.label()} {STATE_NAMES[self.state]}>"
