"""The borders inside the library, read from its source: who may import whom, and what is never called.

Imports inside functions and under TYPE_CHECKING count for the layers: a dependency is a dependency. Only
what runs at import time counts for cycles. The rules are functions of plain values, so that the second half
of this file can show each of them catching a planted offence.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# A package may import from lower numbers and from itself; packages with one number are siblings.
LAYERS = {
    "_version": 0,
    "_kernel": 1,
    "_supervision": 1.5,
    "wire": 2,
    "otp": 3,
    "workers": 3,
    "durable": 4,
    "cluster": 5,
    "": 5.5,  # koboshi/__init__.py, the public face: above what it exports, below what is built with it
    "gateway": 6,
    "observer": 6,
    "cli": 6,
    "__main__": 6.5,
    "testing": 7,
}

# What turns bytes or text into running code.
DANGEROUS = {
    "builtins": {"eval", "exec"},
    "cloudpickle": {"load", "loads"},
    "dill": {"load", "loads"},
    "marshal": {"load", "loads"},
    "os": {"popen", "system"},
    "pickle": {"load", "loads", "Unpickler"},
    "_pickle": {"load", "loads", "Unpickler"},
    "shelve": {"open"},
    "yaml": {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"},
}

# The only exceptions, by module or package. What crossed a network, a database or a file is in none of them.
ALLOWED = {
    # Frames on anonymous socket pairs between processes that this program started itself.
    "koboshi.wire": {("pickle", name) for name in DANGEROUS["pickle"]},
    # A worker loads the program's own main script, as the interpreter did in the root process.
    "koboshi.workers.process._main_module": {("builtins", "exec")},
}


@dataclass(frozen=True)
class Import:
    """One module that another names: where, and whether that happens when the module is loaded."""

    source: str
    target: str
    line: int
    at_load: bool


def module_name(path: Path, root: Path) -> str:
    """`koboshi.otp.task` for src/koboshi/otp/task.py; a package's __init__ has the package's own name."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    """True for the test of an `if TYPE_CHECKING:` block."""
    return (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING") or (
        isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING"
    )


def walk_with_phase(node: ast.AST, at_load: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, and whether it runs while the module is being loaded."""
    for field, value in ast.iter_fields(node):
        inside = at_load
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and field == "body":
            inside = False
        if isinstance(node, ast.If) and field == "body" and is_type_checking(node.test):
            inside = False
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child, inside
                yield from walk_with_phase(child, inside)


def imports_of(text: str, module: str, is_package: bool, known: frozenset[str]) -> Iterator[Import]:
    """All modules that `module` names in import statements or in import_module("...").

    `from a import b` names the module `a.b` when there is one, else `a`.
    """
    for node, at_load in walk_with_phase(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, at_load)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                anchor = package[: len(package) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(module, inner if inner in known else base, node.lineno, at_load)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(module, node.args[0].value, node.lineno, at_load)


def part_of(module: str) -> str:
    """`otp` for `koboshi.otp.task`, the empty string for `koboshi` itself."""
    if module == "koboshi_pytest":  # outside of the package for its import time, and a part of `testing`
        return "testing"
    return module.split(".")[1] if "." in module else ""


# `run` takes a faster event loop where there is one; nothing depends on it.
OPTIONAL = {("koboshi._supervision._run", "uvloop")}


def layer_offence(found: Import) -> str | None:
    """Why an import breaks the layer rule; None when it does not."""
    where = f"{found.source}:{found.line} imports {found.target}"
    source = part_of(found.source)
    if source not in LAYERS:
        return f"{found.source} is in no layer: give {source!r} a number in LAYERS"
    if found.target.split(".")[0] != "koboshi":
        allowed = sys.stdlib_module_names | {"__future__"}
        optional = (found.source, found.target) in OPTIONAL
        if (
            source in ("_kernel", "_supervision")
            and found.target.split(".")[0] not in allowed
            and not optional
        ):
            return f"{where}: the kernel uses the standard library only"
        return None
    target = part_of(found.target)
    if target not in LAYERS:
        return f"{where}: {target!r} is in no layer"
    if source == target or LAYERS[target] < LAYERS[source]:
        return None
    return f"{where}: layer {LAYERS[source]} may import only from below or from its own package"


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other, each sorted; empty when loading has an order."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        todo = list(edges[start])
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo.extend(edges.get(here, ()))
        reach[start] = seen
    in_a_ring = [module for module in edges if module in reach[module]]
    groups = {tuple(sorted(b for b in in_a_ring if b in reach[a] and a in reach[b])) for a in in_a_ring}
    return [list(group) for group in sorted(groups)]


def dangerous_uses(text: str, module: str) -> Iterator[str]:
    """Each use of a name in DANGEROUS, called or only mentioned, and each shell=True."""
    tree = ast.parse(text)
    homes = [home for home in ALLOWED if f"{module}.".startswith(f"{home}.")]
    allowed = {use for home in homes for use in ALLOWED[home]}
    modules: dict[str, str] = {}
    names: dict[str, tuple[str, str]] = {name: ("builtins", name) for name in DANGEROUS["builtins"]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module in DANGEROUS:
            names.update({alias.asname or alias.name: (node.module, alias.name) for alias in node.names})
    for node in ast.walk(tree):
        used = ("", "")
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used = names.get(node.id, used)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = (modules.get(node.value.id, ""), node.attr)
        elif isinstance(node, ast.keyword) and node.arg == "shell" and ast.unparse(node.value) != "False":
            yield f"{module}:{node.value.lineno} passes shell=; give a list of program and arguments"
        if used[1] in DANGEROUS.get(used[0], ()) and used not in allowed:
            yield f"{module}:{getattr(node, 'lineno', 0)} uses {used[0]}.{used[1]}; see ALLOWED for who may"


# --- the rules, applied to the library ---------------------------------------------------------------------


def sources() -> dict[str, tuple[Path, str]]:
    """Every module of the library, its file and text."""
    return {module_name(path, SOURCE): (path, path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}


def all_imports() -> list[Import]:
    """Every import of every module of the library."""
    found = sources()
    known = frozenset(found)
    return [
        each
        for module, (path, text) in found.items()
        for each in imports_of(text, module, path.name == "__init__.py", known)
    ]


def test_each_module_imports_only_from_lower_layers_or_its_own_package() -> None:
    assert sources(), f"no module found under {SOURCE}"

    assert [offence for found in all_imports() if (offence := layer_offence(found))] == []


def test_modules_can_be_loaded_in_an_order_without_import_cycles() -> None:
    edges: dict[str, set[str]] = {module: set() for module in sources()}
    for found in all_imports():
        if found.at_load and found.target in edges and found.target != found.source:
            edges[found.source].add(found.target)

    assert [] == cycles(edges)


def test_nothing_unpickles_or_evaluates_but_where_it_is_allowed() -> None:
    offences = [each for module, (_, text) in sources().items() for each in dangerous_uses(text, module)]
    offences += dangerous_uses(SOURCE.parent.joinpath("run").read_text(), "run")

    assert [] == offences


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert SOURCE.joinpath("koboshi/py.typed").exists()


# --- the rules themselves, each against a planted offence --------------------------------------------------

KNOWN = frozenset({"koboshi", "koboshi.otp", "koboshi.otp.task", "koboshi.workers", "koboshi._kernel.cell"})


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("koboshi._kernel.cell", "from koboshi.otp import task"),
        ("koboshi._kernel.cell", "def late():\n    import koboshi.wire"),
        ("koboshi._kernel.cell", "if TYPE_CHECKING:\n    from koboshi.otp.task import Task"),
        ("koboshi._kernel.cell", "from ..otp import task"),
        ("koboshi._kernel.cell", "from .. import otp"),
        ("koboshi._kernel.cell", "import msgspec"),
        ("koboshi.otp.task", "import koboshi.workers"),
        ("koboshi.otp.task", "import importlib\nimportlib.import_module('koboshi.durable')"),
        ("koboshi.durable.store", "import koboshi as kb"),
        ("koboshi", "from koboshi.testing import probe"),
        ("koboshi.cli.main", "from koboshi import testing"),
        ("koboshi.utils", "import os"),
    ],
)
def test_the_layer_rule_refuses(module: str, text: str) -> None:
    known = KNOWN | {"koboshi.testing"}

    assert any(layer_offence(found) for found in imports_of(text, module, module == "koboshi", known))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("koboshi._kernel.cell", "import asyncio\nfrom collections import deque"),
        ("koboshi._kernel.cell", "from koboshi._kernel.reasons import Normal\nfrom . import reasons"),
        ("koboshi.otp.task", "from koboshi._kernel import cell"),
        ("koboshi.cli.main", "import koboshi as kb\nimport click"),
        ("koboshi", "from koboshi.otp.task import Task"),
        ("koboshi", "from ._kernel.cell import Cell"),
        ("koboshi.testing.probe", "import koboshi.cli"),
    ],
)
def test_the_layer_rule_admits(module: str, text: str) -> None:
    assert not any(layer_offence(found) for found in imports_of(text, module, module == "koboshi", KNOWN))


def test_a_cycle_of_three_is_found_and_a_diamond_is_not_one() -> None:
    ring = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    diamond: dict[str, set[str]] = {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}

    assert [["a", "b", "c"]] == cycles(ring)
    assert [] == cycles(diamond)


def test_imports_inside_functions_and_for_types_do_not_count_as_loading() -> None:
    guarded = "import a\nif TYPE_CHECKING:\n    import b\nelse:\n    import c\n"
    text = guarded + "def f():\n    import d\nclass K:\n    import e"

    loaded = {found.target for found in imports_of(text, "m", False, frozenset()) if found.at_load}

    assert {"a", "c", "e"} == loaded


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(data)",
        "import pickle as p\nrun = p.load",
        "from pickle import loads as decode\ndecode(data)",
        "from pickle import Unpickler\nclass U(Unpickler): ...",
        "import cloudpickle\ncloudpickle.loads(data)",
        "eval('1')",
        "exec(code)",
        "import yaml\nyaml.load(text)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=flag)",
        "import os\nos.system('ls')",
    ],
)
def test_a_dangerous_use_is_found(text: str) -> None:
    assert list(dangerous_uses(text, "koboshi.otp.task"))


def test_wire_may_unpickle_and_may_do_nothing_else_that_is_dangerous() -> None:
    assert [] == list(dangerous_uses("import pickle\npickle.loads(data)", "koboshi.wire.codec"))
    assert [] == list(dangerous_uses("import pickle\npickle.dumps(data)", "koboshi.otp.task"))
    assert list(dangerous_uses("eval(data)", "koboshi.wire.codec"))
    assert list(dangerous_uses("import cloudpickle\ncloudpickle.loads(data)", "koboshi.wire.codec"))
    assert list(dangerous_uses("import pickle\npickle.loads(data)", "koboshi.wireless"))
