"""A file whose pages are damaged: it is said so, nothing is acknowledged, and a backup put back goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import koboshi as kb


class Note(kb.DurableActor[str]):
    def initial(self) -> str:
        return ""

    @kb.message
    def write(self, text: str) -> str:
        self.state = text
        return text

    @kb.message
    def read(self) -> str:
        return self.state


async def written(file: Path) -> None:
    """A store with enough notes to have many pages."""
    notes = kb.durable(Note, store=f"sqlite:///{file}")
    async with kb.Supervisor(notes.child()):
        for number in range(60):
            await notes[f"{number:02}"].call(Note.write, f"{number}" * 400)


def damage(file: Path) -> None:
    """Overwrite the pages of the actors' table but for its first, which is the way to all others."""
    with closing(sqlite3.connect(file)) as connection, connection:
        size = int(connection.execute("PRAGMA page_size").fetchone()[0])
        root = int(
            connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'kb_actor'").fetchone()[0]
        )
    with open(file, "r+b") as handle:
        for page in range(root, os.path.getsize(file) // size):
            handle.seek(page * size)
            if handle.read(1) == b"\x0a":  # a leaf of an index, as tables without row numbers are
                handle.seek(page * size)
                handle.write(b"\xff" * size)


async def test_a_damaged_file_is_said_to_be_damaged_and_a_backup_of_it_goes_on(tmp_path: Path) -> None:
    file, backup = tmp_path / "app.db", tmp_path / "backup.db"
    await written(file)
    shutil.copy(file, backup)
    damage(file)

    notes = kb.durable(Note, store=f"sqlite:///{file}")
    with pytest.raises((kb.StoreDamaged, kb.StartError)) as found:
        async with kb.Supervisor(notes.child()):
            await notes["05"].call(Note.read)
    assert "app.db is damaged" in str(found.value)
    assert "restore a backup" in str(found.value)

    (tmp_path / "app.db-wal").unlink(missing_ok=True)
    shutil.copy(backup, file)
    notes = kb.durable(Note, store=f"sqlite:///{file}")
    async with kb.Supervisor(notes.child()):
        assert "5" * 400 == await notes["05"].call(Note.read)
