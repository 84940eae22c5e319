"""From the options to the exit status."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import koboshi as kb

from ._options import Options
from ._prepare import FAILED, INTERRUPTED, Refusal, prepare
from ._proof import Proof
from ._run import Run
from ._view import Lines, Live, Silent, View

__all__ = ["run"]

# Dead letters that are named at the end.
_TOP = 10


def run(options: Options) -> int:
    """Run the demo to its end; the exit status."""
    with _store(options) as store:
        status = kb.run(lambda: _demo(options, store), log_level=None)
    if status is not None:
        return status
    if options.store is None:
        hint = "nothing was kept; with --store STORE it could be resumed"
    else:
        hint = f"continue with: koboshi demo --store {shlex.quote(options.store)} --resume"
    _complain(f"stopped in good order before the end; {hint}")
    return INTERRUPTED


async def _demo(options: Options, store: str) -> int:
    try:
        plan = await prepare(options, store)
    except Refusal as refusal:
        _complain(str(refusal))
        return refusal.status
    status = FAILED
    try:
        with contextlib.closing(_view(options)) as view:
            proof = await Run(options, plan, store, view).proof()
        status = _report(options, proof)
    except* BrokenPipeError:
        # Whoever read our output has left. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _view(options: Options) -> View:
    if options.json:
        return Silent()
    return Lines() if options.headless or not sys.stdout.isatty() else Live()


def _report(options: Options, proof: Proof) -> int:
    if options.json:
        print(proof.json(), flush=True)
    else:
        for each in proof.passes[-1:]:
            for path, reason in each.reasons[:_TOP]:
                print(f"dead letter {path}: {reason}")
            print(each.summary)
        print(proof.line(), flush=True)
    for fault in proof.faults:
        _complain(f"the proof fails: {fault}")
    return 0 if proof.ok else FAILED


def _complain(text: str) -> None:
    print(f"koboshi demo: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _store(options: Options) -> Generator[str]:
    """The store's URL: the one asked for, or one in a temporary folder that is removed afterwards."""
    if options.url is not None:
        yield options.url
        return
    folder = tempfile.mkdtemp(prefix="koboshi-demo-")
    try:
        yield f"sqlite:///{Path(folder, 'demo.db')}"
    finally:
        shutil.rmtree(folder)
