"""What a program holds of the machine: processes, descriptors, shared memory, resident memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Census", "children_of", "resident", "slope"]

_PAGE = os.sysconf("SC_PAGESIZE")


def children_of(pid: int) -> dict[int, str]:
    """The children of a process and the state of each: Z for a zombie, T for a stopped one."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            for child in map(int, (task / "children").read_text().split()):
                found[child] = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between two looks
    return found


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


@dataclass(frozen=True)
class Census:
    """One moment; equal when nothing was left behind in between."""

    servers: int
    workers: int
    zombies: int
    stopped: int
    descriptors: int
    server_descriptors: tuple[int, ...]
    shared: int

    @classmethod
    def take(cls) -> Census:
        """Count what this process has now."""
        children = children_of(os.getpid())
        servers = sorted(pid for pid, state in children.items() if state != "Z")
        below = [state for server in servers for state in children_of(server).values()]
        states = [*below, *children.values()]
        return cls(
            servers=len(servers),
            workers=len([state for state in below if state != "Z"]),
            zombies=states.count("Z"),
            stopped=states.count("T"),
            descriptors=len(os.listdir("/proc/self/fd")),
            server_descriptors=tuple(len(os.listdir(f"/proc/{server}/fd")) for server in servers),
            shared=Path("/proc/self/maps").read_text().count("koboshi-journal"),
        )


def slope(points: list[tuple[int, int]]) -> float:
    """How much y grows for each x, by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
