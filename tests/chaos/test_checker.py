"""The checker, on histories with planted violations: a judge who never finds anything is worth nothing."""

from __future__ import annotations

import dataclasses

import pytest
from tests.chaos.checker import Verdict, check, is_settled
from tests.chaos.history import Entry, History, Kept, Operation

A_OPEN, B_OPEN = Operation("a0", "A", "open", cents=100), Operation("b0", "B", "open", cents=100)
FIRST, SECOND = Operation("t1", "A", "out", "B", 10), Operation("t2", "A", "out", "B", 20)
NOTE = Operation("n1", "B", "note", posted=True)

A = (Entry(1, "open", "a0", cents=100), Entry(2, "out", "t1", "B", 10), Entry(3, "out", "t2", "B", 20))
B = (
    *(Entry(1, "open", "b0", cents=100), Entry(2, "in", "t1", "A", 10), Entry(3, "note", "n1")),
    *(Entry(4, "in", "t2", "A", 20), Entry(5, "rang", "n1")),
)


def history() -> History:
    """Everything was asked for in turn and acknowledged, as `A` and `B` have it."""
    made = History()
    for operation, revision in ((A_OPEN, 1), (B_OPEN, 1), (FIRST, 2), (NOTE, 0), (SECOND, 3)):
        made.ask(operation)
        made.acknowledge(operation.id, revision)
    return made


def kept(
    a: tuple[Entry, ...] = A, b: tuple[Entry, ...] = B, cents: tuple[int, int] = (70, 130)
) -> dict[str, Kept]:
    """The accounts at the end, numbered anew so that nothing else is wrong than what is planted."""
    return {
        name: Kept(
            amount,
            len(entries),
            tuple(dataclasses.replace(each, revision=number) for number, each in enumerate(entries, 1)),
        )
        for name, entries, amount in (("A", a, cents[0]), ("B", b, cents[1]))
    }


def without_replies() -> History:
    """The same, and no reply has come."""
    made = history()
    made.acknowledged.clear()
    return made


def test_a_history_that_keeps_its_promises_has_no_violation() -> None:
    verdict = check(history(), kept())

    assert {} == verdict.violations()
    assert (5, 5, 0, 0) == (
        verdict.attempted,
        verdict.acknowledged,
        verdict.unknown,
        verdict.lost_with_image,
    )


@pytest.mark.parametrize("happened", [True, False])
def test_what_was_not_acknowledged_may_have_happened_or_not(happened: bool) -> None:
    made = history()
    del made.acknowledged["t2"]
    found = kept() if happened else kept(A[:2], (*B[:3], B[4]), (90, 110))
    verdict = check(made, found)

    assert ({}, 1) == (verdict.violations(), verdict.unknown)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        pytest.param(
            kept(A[:2], (*B[:3], B[4]), (90, 110)),
            {"lost": ["t2 was acknowledged, and A does not have it"]},
            id="a turn that is gone",
        ),
        pytest.param(
            kept(b=(*B[:3], B[4]), cents=(70, 110)),
            {
                "lost": ["t2 left A and never came to B"],
                "wrong_sums": ["all accounts have 180 cents, and 200 were paid in"],
            },
            id="a message that is gone",
        ),
        pytest.param(
            kept(b=B[:4]), {"lost": ["the reminder n1 of B never came"]}, id="a reminder that is gone"
        ),
        pytest.param(
            kept(b=(*B, B[1]), cents=(70, 140)),
            {
                "duplicated": ["in t1 happened 2 times"],
                "wrong_sums": ["all accounts have 210 cents, and 200 were paid in"],
            },
            id="a message that came twice",
        ),
        pytest.param(
            kept(b=(B[0], B[3], B[2], B[1], B[4])),
            {"reordered": ["from A to B the order was not that of sending"]},
            id="messages in another order",
        ),
        pytest.param(
            kept(cents=(75, 125)),
            {
                "wrong_sums": [
                    "A has 75 cents, and its turns make 70",
                    "B has 125 cents, and its turns make 130",
                ]
            },
            id="a balance that is not that of its turns",
        ),
        pytest.param(
            kept((*A, Entry(0, "note", "x9")), (*B, Entry(0, "rang", "x9"))),
            {
                "lost": ["the reminder x9 of A never came"],
                "invented": [
                    "A has note x9, which nobody asked for",
                    "B has rang x9, which nobody asked for",
                    "a reminder x9 came to B, which set none",
                ],
            },
            id="what nobody asked for",
        ),
    ],
)
def test_each_planted_violation_is_found(planted: dict[str, Kept], expected: dict[str, list[str]]) -> None:
    made = history()
    # The other replies' revisions are not what these are about.
    made.acknowledged = {id: (at, 0) for id, (at, _) in made.acknowledged.items()}

    assert expected == check(made, planted).violations()


def test_turns_in_another_order_than_their_replies_are_found() -> None:
    found = kept((A[0], A[2], A[1]), (B[0], B[3], B[2], B[1], B[4]))
    made = history()
    made.acknowledged = {id: (at, 0) for id, (at, _) in made.acknowledged.items()}

    assert {"reordered": ["A has t2 before t1, which was acknowledged first"]} == check(
        made, found
    ).violations()


def test_a_reply_that_tells_another_revision_is_found() -> None:
    made = history()
    made.acknowledged["t2"] = (made.acknowledged["t2"][0], 2)

    assert {"lost": ["t2 was acknowledged at revision 2 and is at 3"]} == check(made, kept()).violations()


def test_a_gap_in_the_revisions_is_found() -> None:
    found = kept()
    found["A"] = dataclasses.replace(found["A"], revision=4)

    assert {"gaps": ["the turns of A are not those from 1 to 4"]} == check(history(), found).violations()


def test_what_was_refused_and_happened_is_found() -> None:
    made = history()
    del made.acknowledged["n1"]
    made.refused.add("n1")

    assert {"invented": ["B has note n1, which was refused", "B has rang n1, which was refused"]} == check(
        made, kept()
    ).violations()


def test_who_never_got_a_reply_is_found() -> None:
    made = without_replies()
    made.stuck.add("t1")

    assert {"stuck": ["t1 never got a reply"]} == check(made, kept()).violations()


def test_what_an_older_image_has_forgotten_is_counted_apart() -> None:
    made = history()
    made.restored.append((made.acknowledged["t2"][0], made.moment()))
    verdict = check(made, kept(A[:2], (*B[:3], B[4]), (90, 110)))

    assert ({}, 1) == (verdict.violations(), verdict.lost_with_image)


def test_what_was_acknowledged_before_the_image_may_not_be_forgotten() -> None:
    made = history()
    made.restored.append((made.acknowledged["t2"][0] + 1, made.moment()))

    assert not check(made, kept(A[:2], (*B[:3], B[4]), (90, 110))).ok


def test_a_run_has_settled_when_all_messages_and_reminders_have_come() -> None:
    assert is_settled(kept())
    assert not is_settled(kept(b=B[:4]))
    assert not is_settled(kept(b=(*B[:3], B[4])))


def test_a_verdict_is_ok_without_violations() -> None:
    assert Verdict().ok
    assert not Verdict(gaps=["x"]).ok
