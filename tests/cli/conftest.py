"""Small inputs for the demo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])

if ROOT not in sys.path:
    sys.path.append(ROOT)

MODULE = "import os, sys\nfrom . import sibling\n\n\nclass Thing:\n    def method(self):\n        return os\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Forty modules, files of every awkward kind, and two that cannot be parsed."""
    root = tmp_path / "input"
    (root / "package").mkdir(parents=True)
    for number in range(40):
        (root / "package" / f"module{number}.py").write_text(MODULE + f"x = {number}\n" * (number * 10))
    odd = {
        "empty.py": b"",
        "no_newline.py": b"x = 1",
        "bom.py": b"\xef\xbb\xbfx = '\xc3\xa4'\n",
        "latin.py": b"# -*- coding: latin-1 -*-\nx = '\xe4'\n",
        "crlf.py": b"def f():\r\n    return 1\r\n",
        "formfeed.py": b"\x0cimport os\n\x0c\nx = 1\n",
        "continued.py": b"x = 1 + \\\n    2\n",
        "nested.py": b"def a():\n  async def b():\n    class C:\n      import json.decoder as d\n",
        "match.py": b"match 1:\n    case 1:\n        def in_case(): pass\n",
        "wild.py": b"try:\n  from os import *\nexcept ImportError:\n  import os\nfinally:\n  import sys\n",
        'na"me.py': b"x = 1\n",
        '"quoted.py': b"x = 1\n",
        "broken.py": b"def (:\n",
        "null.py": b"x = 1\0\n",
    }
    for name, data in odd.items():
        (root / name).write_bytes(data)
    with open(bytes(root) + b"/not\xfftext.py", "wb") as file:
        file.write(b"import os\n")
    (root / "folder.py").mkdir()
    (root / "dangling.py").symlink_to("nowhere")
    (root / "notes.txt").write_text("no Python")
    return root


#: Files of `tree`, and how many of them cannot be parsed.
FILES, BROKEN = 55, 2
