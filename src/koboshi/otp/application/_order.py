"""The order in which applications are started: a pure function of who needs whom."""

from __future__ import annotations

from collections.abc import Mapping

from ._errors import DependencyCycle, MissingDependency


def start_order(needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """All names, each behind those that it needs, and as far as that allows in the order of the mapping.

    Raises:
        MissingDependency: somebody needs a name that is not there.
        DependencyCycle: some need each other.
    """
    known = tuple(needs)
    for name, wanted in needs.items():
        for each in wanted:
            if each not in needs:
                raise MissingDependency(name, each, known)
    # Insertion order is the answer. A list of who waits for whom in place of recursion: the depth of a
    # program's dependencies is no business of the interpreter's stack.
    done: dict[str, None] = {}
    for first in known:
        path = [first]
        while path:
            name = path[-1]
            missing = next((each for each in needs[name] if each not in done), None)
            if missing is None:
                done[name] = None
                path.pop()
            elif missing in path:
                raise DependencyCycle((*path[path.index(missing) :], missing))
            else:
                path.append(missing)
        # A name that is done already passes through the loop once more and changes nothing.
    return tuple(done)
