"""What the fork server's child does to become somebody else's program.

It stays the fork server's child, so all that holds for workers holds for it: it leads a process group which
is killed when it ends and when the root dies, and its status is collected by the fork server.
"""

from __future__ import annotations

import json
import os
import signal
from typing import NoReturn

# Signals that Python, or the fork server, has set to be ignored or caught; a program expects the defaults.
_RESET = (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD, signal.SIGCONT)


def become_program(fds: list[int]) -> NoReturn:
    """Replace this process with the program of the specification.

    Args:
        fds: the specification as a JSON file; the program's standard input, output and error; and where
            the number of an error is written, which is closed by a start that succeeds.
    """
    spec, stdin, stdout, stderr, failed = fds
    try:
        for fd in fds:  # those that came over a socket would all stay open in the program
            os.set_inheritable(fd, False)
        with open(spec, "rb") as file:
            file.seek(0)
            request = json.load(file)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for target, fd in enumerate((stdin, stdout, stderr)):
            os.dup2(fd, target)
        if request["cwd"] is not None:
            os.chdir(request["cwd"])
        os.execve(request["path"], request["argv"], request["env"])
    except OSError as error:
        os.write(failed, str(error.errno or 0).encode())
    finally:
        os._exit(127)
