"""Judges a history by what it promises, without a word of how it is kept.

What was asked for and not acknowledged is unknown: it may have happened or not, but not twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.history import Entry, History, Kept, Operation

__all__ = ["Verdict", "check", "is_settled"]

_SIGN = {"open": 1, "in": 1, "out": -1, "note": 0, "rang": 0}


@dataclass
class Verdict:
    """What was found, a sentence for each violation."""

    attempted: int = 0
    acknowledged: int = 0
    unknown: int = 0
    #: Acknowledged, and gone with an image that was put back: expected.
    lost_with_image: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    wrong_sums: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no promise was broken."""
        return not self.violations()

    def violations(self) -> dict[str, list[str]]:
        """The kinds of violations that there are."""
        found = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "invented": self.invented,
            "gaps": self.gaps,
            "wrong_sums": self.wrong_sums,
            "stuck": self.stuck,
        }
        return {name: texts for name, texts in found.items() if texts}


def is_settled(kept: Mapping[str, Kept]) -> bool:
    """Whether nothing is under way: each transfer has arrived, each reminder has rung."""
    arrived = {(each.other, each.id) for each in _entries(kept, "in")}
    rung = {each.id for each in _entries(kept, "rang")}
    return all(
        (name, each.id) in arrived if each.what == "out" else each.id in rung
        for name, account in kept.items()
        for each in account.entries
        if each.what in ("out", "note")
    )


def check(history: History, kept: Mapping[str, Kept]) -> Verdict:
    """Compare what a client was told with what is there after everything has settled.

    Args:
        kept: every account that an operation names.
    """
    verdict = Verdict(len(history.asked), len(history.acknowledged))
    known = history.acknowledged.keys() | history.refused
    verdict.unknown = len(history.asked.keys() - known)
    verdict.stuck += [f"{id} never got a reply" for id in sorted(history.stuck)]
    _effects(history, kept, verdict)
    _repeats(kept, verdict)
    _origins(history, kept, verdict)
    _messages(kept, verdict)
    _order_of_replies(history, kept, verdict)
    _accounts(history, kept, verdict)
    return verdict


def _entries(kept: Mapping[str, Kept], what: str) -> Iterable[Entry]:
    return (each for account in kept.values() for each in account.entries if each.what == what)


def _effects(history: History, kept: Mapping[str, Kept], verdict: Verdict) -> None:
    """What was acknowledged is there, as it was acknowledged."""
    places = {
        (name, each.what, each.id): each.revision
        for name, account in kept.items()
        for each in account.entries
    }
    for id, (_, revision) in history.acknowledged.items():
        operation = history.asked[id][1]
        found = places.get((operation.account, operation.what, id))
        if history.is_excused(id):
            verdict.lost_with_image += found is None
        elif found is None:
            verdict.lost.append(f"{id} was acknowledged, and {operation.account} does not have it")
        elif revision and revision != found:
            verdict.lost.append(f"{id} was acknowledged at revision {revision} and is at {found}")


def _repeats(kept: Mapping[str, Kept], verdict: Verdict) -> None:
    counts = Counter((each.what, each.id) for account in kept.values() for each in account.entries)
    verdict.duplicated += [f"{what} {id} happened {n} times" for (what, id), n in counts.items() if n > 1]


def _origins(history: History, kept: Mapping[str, Kept], verdict: Verdict) -> None:
    """What is there was asked for, in this way, and nobody was told that it would not be."""
    for name, account in kept.items():
        for each in account.entries:
            _, operation = history.asked.get(each.id, (0, None))
            if operation is None:
                verdict.invented.append(f"{name} has {each.what} {each.id}, which nobody asked for")
            elif each.id in history.refused:
                verdict.invented.append(f"{name} has {each.what} {each.id}, which was refused")
            elif not _is_of(each, name, operation):
                verdict.invented.append(f"{name} has {each}, and asked for was {operation}")


def _is_of(entry: Entry, name: str, operation: Operation) -> bool:
    if entry.what == "in":
        return (operation.what, operation.account, operation.other, operation.cents) == (
            "out",
            entry.other,
            name,
            entry.cents,
        )
    if entry.what == "rang":
        return (operation.what, operation.account) == ("note", name)
    return (operation.what, operation.account, operation.other, operation.cents) == (
        entry.what,
        name,
        entry.other,
        entry.cents,
    )


def _messages(kept: Mapping[str, Kept], verdict: Verdict) -> None:
    """What left an account has arrived, once, in the order in which it left."""
    for name, account in kept.items():
        for other, target in kept.items():
            sent = [each.id for each in account.entries if each.what == "out" and each.other == other]
            got = [each.id for each in target.entries if each.what == "in" and each.other == name]
            verdict.lost += [f"{id} left {name} and never came to {other}" for id in _without(sent, got)]
            verdict.invented += [f"{id} came to {other} and never left {name}" for id in _without(got, sent)]
            first = list(dict.fromkeys(got))
            if [id for id in sent if id in set(first)] != [id for id in first if id in set(sent)]:
                verdict.reordered.append(f"from {name} to {other} the order was not that of sending")
        noted = [each.id for each in account.entries if each.what == "note"]
        rung = [each.id for each in account.entries if each.what == "rang"]
        verdict.lost += [f"the reminder {id} of {name} never came" for id in _without(noted, rung)]
        verdict.invented += [
            f"a reminder {id} came to {name}, which set none" for id in _without(rung, noted)
        ]


def _without(ids: list[str], those: list[str]) -> list[str]:
    gone = set(those)
    return [id for id in dict.fromkeys(ids) if id not in gone]


def _order_of_replies(history: History, kept: Mapping[str, Kept], verdict: Verdict) -> None:
    """What was asked for after another's reply had come stands after it."""
    for name, account in kept.items():
        latest, which = 0, ""
        for each in account.entries:
            asked, operation = history.asked.get(each.id, (0, None))
            if operation is None or operation.posted or each.what != operation.what:
                continue
            # What stands before it may not have been asked for after its reply.
            replied = history.acknowledged.get(each.id)
            if replied is not None and latest > replied[0]:
                verdict.reordered.append(f"{name} has {which} before {each.id}, which was acknowledged first")
            if asked > latest:
                latest, which = asked, each.id


def _accounts(history: History, kept: Mapping[str, Kept], verdict: Verdict) -> None:
    opened = 0
    for name, account in kept.items():
        total = sum(_SIGN[each.what] * each.cents for each in account.entries)
        opened += sum(each.cents for each in account.entries if each.what == "open")
        if total != account.cents:
            verdict.wrong_sums.append(f"{name} has {account.cents} cents, and its turns make {total}")
        expected = list(range(1, account.revision + 1))
        if expected != [each.revision for each in account.entries]:
            verdict.gaps.append(f"the turns of {name} are not those from 1 to {account.revision}")
    found = sum(account.cents for account in kept.values())
    if found != opened:
        verdict.wrong_sums.append(f"all accounts have {found} cents, and {opened} were paid in")
