"""`python -m koboshi`: the same as the `koboshi` command."""

from __future__ import annotations

from .cli import main

# Worker processes load the main module too, under another name.
if __name__ == "__main__":
    main()
