"""Which verdicts hold, and what they say of a study."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, strategies

from services.triage.finding import Outcome
from services.triage.verdict import (
    OWN_ASSESSMENTS,
    Answer,
    MarkedLesion,
    RejectReason,
    Shown,
    Truth,
    Verdict,
    standing,
    truth_of,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LESIONS = ("2.25.1", "2.25.2")


def verdict(answer: Answer, *, at: float = 0, **told: object) -> Verdict:
    default: dict[str, object] = {"result_id": "r", "reader": "Dr A"}
    if answer is Answer.REJECT:
        default["reason"] = RejectReason.VESSEL
    if answer is Answer.ADD:
        default["tracking_uid"] = "2.25.99"
    return Verdict(
        verdict_id=uuid4().hex,
        study_instance_uid="1.2",
        answer=answer,
        given_at=NOON + timedelta(seconds=at),
        shown=Shown(page="study"),
        **(default | told),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"answer": Answer.REJECT, "reason": None},
        {"answer": Answer.ACCEPT, "reason": RejectReason.VESSEL},
        {"answer": Answer.UNDO},
        {"answer": Answer.ACCEPT, "undoes": "x"},
        {"answer": Answer.ADD, "tracking_uid": None},
        {"answer": Answer.PRESENT, "tracking_uid": "2.25.1"},
        {"answer": Answer.ACCEPT, "result_id": None},
        {"answer": Answer.ACCEPT, "lesion": MarkedLesion(finding="x")},
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(verdict(Answer.ACCEPT), **parts)  # type: ignore[arg-type]


def test_of_one_question_the_newest_verdict_holds_and_an_undone_one_never() -> None:
    first, second = verdict(Answer.ACCEPT), verdict(Answer.REJECT, at=1)
    assert standing([second, first]) == (second,)
    undo = verdict(Answer.UNDO, at=2, undoes=second.verdict_id)
    assert standing([first, second, undo]) == (first,)


def test_readers_lesions_and_results_are_each_a_question_of_their_own() -> None:
    given_verdicts = [
        verdict(Answer.ACCEPT),
        verdict(Answer.ACCEPT, at=1, reader="Dr B"),
        verdict(Answer.ACCEPT, at=2, tracking_uid=LESIONS[0]),
        verdict(Answer.ACCEPT, at=3, result_id="other"),
        verdict(Answer.PRESENT, at=4),
    ]
    assert standing(given_verdicts) == tuple(given_verdicts)


@pytest.mark.parametrize(
    ("outcome", "answers", "truth"),
    [
        (Outcome.FOUND, [verdict(Answer.ACCEPT)], Truth.PRESENT),
        (Outcome.FOUND, [verdict(Answer.REJECT)], Truth.ABSENT),
        (Outcome.FOUND, [verdict(Answer.REJECT, reason=RejectReason.MISSED)], Truth.PRESENT),
        (Outcome.NOTHING_FOUND, [verdict(Answer.ACCEPT)], Truth.ABSENT),
        (Outcome.NOTHING_FOUND, [verdict(Answer.REJECT, reason=RejectReason.MISSED)], Truth.PRESENT),
        (Outcome.NOTHING_FOUND, [verdict(Answer.ADD)], Truth.PRESENT),
        (Outcome.EQUIVOCAL, [verdict(Answer.ACCEPT)], Truth.UNKNOWN),
        (Outcome.EQUIVOCAL, [verdict(Answer.REJECT)], Truth.ABSENT),
        (Outcome.FOUND, [verdict(Answer.NOT_MY_QUESTION)], Truth.UNKNOWN),
        (Outcome.FOUND, [], Truth.UNKNOWN),
        (Outcome.FOUND, [verdict(Answer.ABSENT)], Truth.UNKNOWN),
        (Outcome.FOUND, [verdict(Answer.REJECT, tracking_uid=LESIONS[0])], Truth.UNKNOWN),
        (Outcome.FOUND, [verdict(Answer.REJECT, tracking_uid=uid) for uid in LESIONS], Truth.ABSENT),
        (
            Outcome.FOUND,
            [verdict(Answer.REJECT, tracking_uid=LESIONS[0]), verdict(Answer.MODIFY, tracking_uid=LESIONS[1])],
            Truth.PRESENT,
        ),
    ],
)
def test_what_the_verdicts_say_of_the_study(outcome: Outcome, answers: list[Verdict], truth: Truth) -> None:
    assert truth_of(outcome, LESIONS, answers) is truth


@given(strategies.lists(strategies.sampled_from([one for one in Answer if one is not Answer.UNDO]), max_size=8))
def test_undoing_everything_leaves_nothing(answers: list[Answer]) -> None:
    verdicts = [verdict(answer, at=at) for at, answer in enumerate(answers)]
    undone = [verdict(Answer.UNDO, at=100 + at, undoes=one.verdict_id) for at, one in enumerate(verdicts)]
    assert standing([*verdicts, *undone]) == ()
    assert truth_of(Outcome.FOUND, LESIONS, [*verdicts, *undone]) is Truth.UNKNOWN


@given(strategies.permutations(range(5)))
def test_the_order_in_which_they_come_does_not_matter(order: list[int]) -> None:
    verdicts = [verdict(answer, at=at) for at, answer in enumerate([Answer.ACCEPT, Answer.REJECT, *OWN_ASSESSMENTS])]
    assert standing([verdicts[index] for index in order]) == standing(verdicts)
