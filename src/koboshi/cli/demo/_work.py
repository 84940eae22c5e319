"""What a worker process does with one file. Standard library only; whatever is wrong with a file raises."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import tokenize
import warnings
from collections.abc import Iterator

__all__ = ["measure"]

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


def measure(payload: bytes) -> bytes:
    """Reads and parses one file; the counts as JSON.

    Raises:
        SyntaxError, ValueError, tokenize.TokenError, OSError: the file cannot be read or parsed.
    """
    job: dict[str, str] = json.loads(payload)
    with open(os.path.join(job["root"], job["path"]), "rb") as file:
        data = file.read()
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
    return json.dumps(result).encode()
