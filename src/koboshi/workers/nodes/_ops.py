"""What nodes say to each other. Each operation is a tuple: one of these numbers, then its fields.

`cell` is what the receiver calls the target: a number of its own, or ("place", n) or ("alias", n) for
what it has given away. `call` numbers are the sender's. `bytes` fields are pickles by themselves, so that
one that cannot be read costs one message. Operations between two nodes arrive in the order in which
they were sent, whatever they are; nothing is promised across pairs.
"""

from __future__ import annotations

from typing import Any

Op = tuple[Any, ...]
# (index of the node, what it calls the cell)
Address = tuple[Any, Any]

CALL = 1  # cell, message, arguments, correlation id, call, seconds left or None, chain of callers
CAST = 2  # cell, message, arguments, correlation id
REPLY = 3  # call, small value
REPLY_PACKED = 4  # call, bytes of any value
FAIL = 5  # call, bytes of an error
CANCEL = 6  # call: nobody waits for it any more
SEND = 7  # cell, message, arguments, correlation id, call: answered once there was room
TELL = 8  # cell, bytes of any object, correlation id
STOP = 9  # cell, bytes of a reason: a stop request, which waits its turn
SIGNAL = 10  # cell, bytes of the sender or None, bytes of a reason, by link: an exit signal
CONDEMN = 11  # cell, bytes of a reason, kill: an end that nothing can trap
LINK = 12  # cell, bytes of who is to be tied to it
UNLINK = 13  # cell, address of who was
RELINK = 14  # cell, address that it was tied to, bytes of what was meant: a place is no cell
WATCH = 15  # cell: say ENDED when it ends
ENDED = 16  # cell, bytes of a reason
SUSPEND = 17  # cell, whether or not
FULL = 18  # cell, limit: its mailbox is full, so refuse casts to it where they are made
ROOM = 19  # cell: it has taken all in
SPAWN = 20  # cell to be, bytes of what to start, seconds
STARTED = 21  # cell, bytes of an error or None
NAME = 22  # bytes of a name and of who has it
UNNAME = 23  # bytes of a name, address of who had it
NAME_TAKEN = 24  # cell, bytes of a name that somebody else had first
EVENT = 25  # bytes of an event
HELLO = 26  # index, name, the nodes that there are: the root's first word
NODE_UP = 27  # index, name
NODE_DOWN = 28  # index, bytes of a reason
PING = 29  #
PONG = 30  # processes, queued
PROBE = 31  # cell, node and number of a call, chain of callers: does the cell wait for one of them?
KILL = (
    34  # address, bytes of a reason: the root is to kill that cell, with its process if that is all its own
)
