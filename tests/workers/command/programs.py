"""External programs of these tests, as Python source."""

from __future__ import annotations

import sys
from typing import Any

import koboshi as kb

READY = "print('ready', flush=True)\n"
FOREVER = "import threading; threading.Event().wait()\n"
ECHO = READY + (
    "import sys\n"
    "for line in sys.stdin:\n"
    "    print('got', line.strip(), flush=True)\n"
    "print('end', flush=True)\n"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + FOREVER
# A child of the program, which inherits its output and ignores the polite signal.
WITH_CHILD = (
    "import subprocess, sys, signal\n"
    "code = 'import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN); '\n"
    "code += 'print(1, flush=True); threading.Event().wait()'\n"
    "child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)\n"
    "child.stdout.readline()\n"
    "print('child', child.pid, flush=True)\n" + READY
)
FLOOD = READY + (
    "import sys\nfor n in range({count}):\n    sys.stdout.write('x' * 200 + '\\n')\nsys.stdout.flush()\n"
)


def python(source: str, *args: str, **options: Any) -> kb.ChildSpec[kb.Command]:
    """A Python program as a child."""
    return kb.command(sys.executable, "-c", source, *args, **options).options(id="program")
