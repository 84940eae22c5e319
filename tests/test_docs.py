"""Everything that README and docs show is run, and everything that they name exists.

A fenced `python` block is a program: it is run in a process of its own and must end with status 0 within
its time. The first `text` block after it that follows an `output` comment is what it must print. What is
not a whole program says so in a comment right above the block:

    <!-- fragment -->    compiled only; names of `kb.` in it must exist
    <!-- exit: 70 -->    the program must end with this status
    <!-- tests -->       run by pytest instead of python
    <!-- output -->      above a `text` block: exactly what the program before it prints
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import koboshi as kb
from koboshi import otp

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted(ROOT.joinpath("docs").rglob("*.md"))
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md"),
    *sorted(ROOT.joinpath("changelog.d").glob("*.md")),
    *DOCS,
]
# Seconds that one program may take on a busy machine; alone each takes well under one.
PROGRAM_TIME = 30.0

FENCE = re.compile(
    r"^(?:<!-- *(?P<mark>[^>]*?) *-->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
KB_NAME = re.compile(r"\bkb\.((?:events\.)?[A-Za-z_]\w*)")
OTP_NAME = re.compile(r"(?<![./\w])otp\.([A-Za-z_]\w*)")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    mark: str
    body: str
    # For a program: what it must print, None when the page does not say.
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks, each output with its program."""
    text = page.read_text()
    found: list[Block] = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        block = Block(page, line, match["language"], match["mark"] or "", match["body"])
        if block.mark == "output":
            program = next((each for each in reversed(found) if each.language == "python"), None)
            assert program is not None, f"{block} is the output of nothing"
            found[found.index(program)] = Block(
                page, program.line, "python", program.mark, program.body, block.body
            )
        found.append(block)
    return found


def short(page: Path) -> str:
    """How a page is called in test ids."""
    return str(page.relative_to(ROOT))


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
PROGRAMS = [block for block in PYTHON if not block.mark.startswith("fragment")]


def run_program(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a user would, in an empty folder."""
    folder.joinpath("program.py").write_text(block.body)
    command = [sys.executable, "-X", "dev", "-W", "error"]
    if block.mark == "tests":
        folder.joinpath("program.py").rename(folder / "test_program.py")
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_program.py"]
    else:
        command += ["program.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PROGRAM_TIME
    )


@pytest.mark.slow
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_that_is_shown_runs_and_prints_what_is_shown(block: Block, tmp_path: Path) -> None:
    done = run_program(block, tmp_path)

    status = re.match(r"exit: (\d+)", block.mark)
    assert (int(status[1]) if status else 0) == done.returncode, done.stdout + done.stderr
    if block.output is not None:
        assert block.output == done.stdout, done.stderr


def write_programs(folder: Path) -> list[str]:
    """All programs as files, each one line further down than its block, and their paths."""
    for number, block in enumerate(PROGRAMS):
        folder.joinpath(f"program_{number}.py").write_text(f"# {block}\n{block.body}")
    return [str(path) for path in folder.iterdir()]


def with_places(report: str) -> str:
    """A checker's report with the pages in place of the files."""
    return re.sub(
        r"\S*program_(\d+)\.py:(\d+)", lambda found: f"{PROGRAMS[int(found[1])]}+{int(found[2]) - 1}", report
    )


@pytest.mark.slow
def test_programs_that_are_shown_pass_a_second_strict_checker(tmp_path: Path) -> None:
    write_programs(tmp_path)
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT / "src")],
        "reportPrivateUsage": False,
        # The ignores are mypy's, and pytest is there or not.
        "reportUnnecessaryTypeIgnoreComment": False,
    }
    tmp_path.joinpath("pyrightconfig.json").write_text(json.dumps(settings))
    checker = Path(sys.executable).parent / "basedpyright"
    command = [str(checker), "--pythonpath", sys.executable, "--project", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)

    assert 0 == done.returncode, with_places(done.stdout + done.stderr)


@pytest.mark.slow
def test_programs_that_are_shown_are_typed(tmp_path: Path) -> None:
    paths = write_programs(tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    cache = f"--cache-dir={ROOT / '.run/mypy-docs'}"
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, cache, "--allow-untyped-calls", "--follow-imports=silent", *paths],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert "" == with_places(done.stdout) + done.stderr


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_that_is_shown_compiles_and_names_only_what_exists(block: Block) -> None:
    compile(block.body, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    assert [] == missing_names(block.body)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_names_of_the_library_in_the_text_exist(page: Path) -> None:
    assert [] == missing_names(page.read_text())


def missing_names(text: str) -> list[str]:
    """What the text takes from `kb` or `otp` and is not there."""
    missing = [f"otp.{name}" for name in OTP_NAME.findall(text) if name not in otp.__all__]
    for name in KB_NAME.findall(text):
        found: Any = kb
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None or name.split(".")[0] not in kb.__all__:
            missing.append(f"kb.{name}")
    return missing


# --- links --------------------------------------------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made on code hosts."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ +(.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> Iterator[str]:
    """Links to a file or a heading that is not there."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors_of(target):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_internal_links_resolve(page: Path) -> None:
    assert [] == list(broken_links(page))


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        links = [link for link in LINK.findall(page.read_text()) if not re.match(r"[a-z]+:|#", link)]
        todo += [(page.parent / link.partition("#")[0]).resolve() for link in links]

    assert [] == [str(page.relative_to(ROOT)) for page in DOCS if page not in reached]


def test_the_tour_visits_every_file_of_the_kernel_and_names_none_that_is_not_there() -> None:
    text = ROOT.joinpath("docs/design/tour.md").read_text()
    source = ROOT / "src/koboshi"
    visited = set(re.findall(r"^\*\*`(\w+/\w+\.py)`\*\*", text, re.M))
    there_are = {
        f"{package}/{path.name}"
        for package in ("_kernel", "_supervision")
        for path in source.joinpath(package).glob("*.py")
        if path.name != "__init__.py"
    }
    known = {path.name for path in source.rglob("*.py")}

    assert there_are == visited
    assert set() == {name for name in re.findall(r"`(?:\w+/)*(\w+\.py)`", text) if name not in known}


# --- rules and their tests ----------------------------------------------------------------------------------


def names_of_tests() -> set[str]:
    """The names of all tests of the suite."""
    found: set[str] = set()
    for path in ROOT.joinpath("tests").rglob("*.py"):
        found.update(re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.M))
    return found


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_tests_that_the_pages_name_exist(page: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", FENCE.sub("", page.read_text())))

    assert set() == named - names_of_tests()


def rules_without_a_test(text: str) -> list[str]:
    """The list items of a page of rules that name no test, but for the section on what is not promised."""
    promised = text.partition("## What is not promised")[0]
    items = re.findall(r"^- (.+(?:\n  .+)*)", promised, re.M)
    assert items
    return [item for item in items if not re.search(r"`test_\w+`", item)]


def test_every_rule_names_the_test_that_proves_it() -> None:
    assert [] == rules_without_a_test(ROOT.joinpath("docs/semantics.md").read_text())


def test_a_rule_without_a_test_is_found() -> None:
    text = "# Rules\n\n- One. `test_one`\n- Two\n  goes on.\n\n## What is not promised\n\n- Three.\n"

    assert ["Two\n  goes on."] == rules_without_a_test(text)


# --- the public face ----------------------------------------------------------------------------------------


def test_all_lists_exactly_the_public_names() -> None:
    # What starts with @ is put there by pytest, which looks into the packages of its plugins.
    public = {name for name in vars(kb) if not name.startswith(("_", "@"))} - {"annotations"}
    # Sub-packages turn up as attributes once somebody has imported them.
    packages = {path.stem for path in ROOT.joinpath("src/koboshi").iterdir()}

    assert set(kb.__all__) == public - (packages - set(kb.__all__))
    assert len(set(kb.__all__)) == len(kb.__all__)


@pytest.mark.parametrize("name", [*kb.__all__, *(f"otp.{name}" for name in otp.__all__)])
def test_every_public_name_is_documented(name: str) -> None:
    package = otp if name.startswith("otp.") else kb
    found = getattr(package, name.removeprefix("otp."))
    if inspect.isclass(found) or inspect.isroutine(found) or inspect.ismodule(found):
        first = (found.__doc__ or "").partition("\n")[0].strip()
        # A dataclass without a docstring gets its signature for one.
        assert first
        assert not first.startswith(f"{name}(")
    assert re.search(
        rf"^\|[^|]*`{re.escape(name)}`[^|]*\| \S", ROOT.joinpath("docs/reference.md").read_text(), re.M
    )


def public_methods() -> list[tuple[str, Any]]:
    """The public methods and properties of all public classes that are not plain data."""
    return [
        (f"{name}.{attribute}", inspect.getattr_static(cls, attribute))
        for name, cls in ((name, getattr(kb, name)) for name in kb.__all__)
        if inspect.isclass(cls)
        for attribute in vars(cls)
        if not attribute.startswith("_")
    ]


def test_every_public_method_has_a_docstring() -> None:
    undocumented = [
        name
        for name, found in public_methods()
        if (inspect.isroutine(found) or isinstance(found, property)) and not found.__doc__
    ]

    # Those that only implement a callback of `Actor`, which says what they are for.
    own = {"on_start", "on_stop", "on_info", "on_exit", "on_down", "format_status", "clean", "ref"}
    assert [] == [name for name in undocumented if name.rpartition(".")[2] not in own]


OPTIONS: dict[str, list[Any]] = {
    "running": [kb.run],
    "supervisors": [kb.Supervisor, kb.ChildSpec.options, kb.Backoff],
    "dynamic-supervisors": [kb.DynamicSupervisor],
    "tables": [otp.Table, otp.DiskTable.open, otp.TableSpec],
    "rings": [otp.Ring],
    "processes": [kb.receive, kb.alias, kb.Monitor.cancel],
}


@pytest.mark.parametrize(
    ("guide", "found"), [(guide, found) for guide, all_found in OPTIONS.items() for found in all_found]
)
def test_every_option_is_in_its_guide(guide: str, found: Any) -> None:
    text = ROOT.joinpath(f"docs/guides/{guide}.md").read_text()
    named = {
        name
        for name, parameter in inspect.signature(found).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in ("self", "main")
    }

    assert set() == {name for name in named if not re.search(rf"`[^`\n]*\b{name}\b", text)}


def test_defaults_of_run_are_those_in_its_guide() -> None:
    text = ROOT.joinpath("docs/guides/running.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.M))
    defaults = inspect.signature(kb.run).parameters

    assert float(shown["shutdown_timeout"]) == defaults["shutdown_timeout"].default
    assert float(shown["watchdog"]) == defaults["watchdog"].default
    assert int(shown["gc_threshold"].replace(",", "")) == defaults["gc_threshold"].default


def test_the_events_guide_lists_every_event_with_its_level() -> None:
    text = ROOT.joinpath("docs/guides/events.md").read_text()
    shown = dict(re.findall(r"^\| `kb\.events\.(\w+)` \| (\w+) \|", text, re.M))
    there_are = {
        name: logging.getLevelName(found.level).lower()
        for name, found in vars(kb.events).items()
        if inspect.isclass(found) and issubclass(found, kb.events.Event) and found is not kb.events.Event
    }

    assert there_are == shown


# --- the harness itself -------------------------------------------------------------------------------------


def test_a_page_with_mistakes_is_caught(tmp_path: Path) -> None:
    page = ROOT / "docs" / "planted.md"
    text = "```python\nprint(1)\n```\n\nprints\n\n<!-- output -->\n```text\n2\n```\n"
    folder = tmp_path / "run"
    folder.mkdir()
    planted = tmp_path / "planted.md"
    planted.write_text(text + "\n[gone](nowhere.md) [no heading](planted.md#none)\n")

    program = blocks_of(planted)[0]

    assert "2\n" == program.output
    assert "1\n" == run_program(program, folder).stdout
    assert ["nowhere.md: no such file", "planted.md#none: no such heading"] == list(broken_links(planted))
    assert ["kb.nothing"] == missing_names("kb.Actor and kb.nothing and kb.events.Restarted")
    assert not page.exists()
