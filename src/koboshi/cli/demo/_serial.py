"""The reference: the same counts by plain Python, one file after the other. Run as a script of its own.

    python -I _serial.py DIR

It prints one JSON object. It imports nothing of this project and uses other means than the workers where
there are any, so that a fault of theirs does not repeat itself here. It ends when its stdin is closed, and so
with whoever started it, however that ended.
"""

import ast
import hashlib
import io
import json
import os
import sys
import threading
import tokenize
import warnings


class Definitions(ast.NodeVisitor):
    """Counts definitions and collects imported names while it goes through a tree."""

    def __init__(self) -> None:
        self.count = 0
        self.names: dict[str, None] = {}

    def visit_FunctionDef(self, node: ast.AST) -> None:
        self.count += 1
        self.generic_visit(node)

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef

    def skip(self, node: ast.AST) -> None:
        """Only expressions are below, and they hold no definitions."""

    visit_Expr = visit_Assign = visit_AnnAssign = visit_AugAssign = visit_Return = skip
    visit_Assert = visit_Raise = visit_Delete = skip

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names[alias.name] = None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.names["." * node.level + (node.module or "")] = None


def counted(tree: ast.AST) -> Definitions:
    """Visits a tree, however deep it is. The limit is raised for this alone: the parser goes by it too."""
    definitions, usual = Definitions(), sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        definitions.visit(tree)
    finally:
        sys.setrecursionlimit(usual)
    return definitions


def files(folder: str, prefix: str = "") -> list[str]:
    """Relative paths of the regular .py files below a folder; caches and installed packages left out."""
    found: list[str] = []
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return found
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("__pycache__", "site-packages", "dist-packages"):
                found += files(entry.path, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".py") and leads_to_file(entry):
            found.append(prefix + entry.name)
    return found


def leads_to_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a regular file or a link to one; a link that leads in a circle is not."""
    try:
        return entry.is_file()
    except OSError:
        return False


def entry_of(root: str, path: str) -> list[object]:
    """What one file comes to; only its path when it cannot be parsed."""
    try:
        with open(f"{root}/{path}", "rb") as file:
            lines = sum(1 for _ in file)
            file.seek(0)
            data = file.read()
        tree = compile(data, path, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = io.TextIOWrapper(io.BytesIO(data), encoding, newline="\n")
        tokens = len(list(tokenize.generate_tokens(text.readline)))
        definitions = counted(tree)
    except Exception:
        return [path, None]
    imports = sorted(definitions.names)
    return [path, hashlib.sha256(data).hexdigest(), lines, tokens, definitions.count, imports]


def end_with_stdin() -> None:
    """Ends this process when nobody holds the other end of its stdin any more."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    threading.Thread(target=end_with_stdin, daemon=True).start()
    warnings.simplefilter("ignore")
    root = sys.argv[1]
    hashes: list[bytes] = []
    unparsable: list[str] = []
    for path in files(root):
        entry = entry_of(root, path)
        hashes.append(hashlib.sha256(json.dumps(entry).encode()).digest())
        if entry[1] is None:
            unparsable.append(path)
    digest = hashlib.sha256(b"".join(sorted(hashes))).hexdigest()
    print(json.dumps({"files": len(hashes), "unparsable": sorted(unparsable), "digest": digest}), flush=True)
    # The thread above sits in a read, which an orderly end of the interpreter would trip over.
    os._exit(0)


if __name__ == "__main__":
    main()
