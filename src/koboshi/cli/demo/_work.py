"""What a worker process does with one file; whatever is wrong with the file raises."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tokenize
import warnings
from collections.abc import Iterator

import koboshi as kb

__all__ = ["measure"]

# A worker that is killed under a task is bad luck here, however often: nothing in the input kills workers.
_INTERRUPTIONS = 1_000
_RETRY = kb.Backoff(0.05, 1.0, jitter=0.5)

# Where statements hold statements. Expressions, which are most nodes, hold no definitions or imports.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a module, however deep, in no particular order."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        for block in _BLOCKS:
            waiting.extend(getattr(node, block, ()))


@kb.task(retries=2, backoff=_RETRY, max_interruptions=_INTERRUPTIONS)
def measure(file: str) -> str:
    """Reads and parses one file; the counts as JSON.

    Args:
        file: its root and path as JSON, which has a way to write names that are no valid text.

    Raises:
        SyntaxError, ValueError, tokenize.TokenError, OSError: the file cannot be read or parsed.
    """
    job: dict[str, str] = json.loads(file)
    with open(os.path.join(job["root"], job["path"]), "rb") as source:
        data = source.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as invalid escapes in old code
        tree = ast.parse(data, job["path"])
    definitions = 0
    imports: set[str] = set()
    for node in statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            definitions += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imports.add("." * node.level + (node.module or ""))
    # The first token is the encoding, which is not in the file.
    tokens = sum(1 for _ in tokenize.tokenize(io.BytesIO(data).readline)) - 1
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    result = {
        "path": job["path"],
        "sha256": hashlib.sha256(data).hexdigest(),
        "lines": lines,
        "tokens": tokens,
        "definitions": definitions,
        "imports": sorted(imports),
    }
    return json.dumps(result)
