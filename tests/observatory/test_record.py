"""What all readers of one result say together."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from services.observatory.record import JudgedLesion, Judgement, judge
from services.triage.finding import Outcome
from services.triage.verdict import Answer, RejectReason, Shown, Truth, Verdict
from tests.support.records import lesion

_numbers = count(1)
LESIONS = (lesion(1, score=0.9), lesion(2, score=0.6))
FIRST, SECOND = (one.tracking_uid for one in LESIONS)


def says(
    answer: Answer, uid: str | None = None, *, reader: str = "Dr A", blind: bool = False, **told: object
) -> Verdict:
    number = next(_numbers)
    if answer is Answer.REJECT:
        told.setdefault("reason", RejectReason.VESSEL)
    return Verdict(
        verdict_id=f"{number:032x}",
        study_instance_uid="1.2",
        result_id="r",
        answer=answer,
        reader=reader,
        given_at=datetime(2026, 10, 1, tzinfo=UTC) + timedelta(seconds=number),
        shown=Shown(page="study", blind=blind),
        tracking_uid=uid,
        **told,  # type: ignore[arg-type]
    )


def of(*verdicts: Verdict, outcome: Outcome = Outcome.FOUND) -> Judgement:
    return judge(outcome, LESIONS if outcome is Outcome.FOUND else (), verdicts)


def correct(judgement: Judgement) -> list[bool | None]:
    return [one.correct for one in judgement.lesions]


def test_without_an_answer_nothing_is_known() -> None:
    assert of() == Judgement(lesions=(JudgedLesion(score=0.9, correct=None), JudgedLesion(score=0.6, correct=None)))


def test_each_lesion_has_its_own_answer() -> None:
    told = of(says(Answer.ACCEPT, FIRST), says(Answer.REJECT, SECOND))
    assert (told.truth, correct(told)) == (Truth.PRESENT, [True, False])


def test_a_study_without_a_lesion_has_none_that_is_right() -> None:
    told = of(says(Answer.REJECT))
    assert (told.truth, correct(told)) == (Truth.ABSENT, [False, False])


def test_of_two_lesions_an_accepted_study_does_not_say_which() -> None:
    told = of(says(Answer.ACCEPT))
    assert (told.truth, correct(told)) == (Truth.PRESENT, [None, None])


def test_readers_who_disagree_leave_it_open() -> None:
    told = of(says(Answer.ACCEPT, FIRST), says(Answer.REJECT, reader="Dr B"))
    assert (told.truth, told.disputed) == (Truth.UNKNOWN, True)


def test_lesions_that_were_added_are_counted_by_the_reader_who_added_most() -> None:
    added = [says(Answer.ADD, f"2.25.9{n}") for n in range(2)]
    told = of(*added, says(Answer.ADD, "2.25.99", reader="Dr B"), outcome=Outcome.NOTHING_FOUND)
    assert (told.truth, told.missed) == (Truth.PRESENT, 2)


def test_a_lesion_that_was_missed_is_not_the_one_that_the_ai_told_of() -> None:
    missed = says(Answer.REJECT, reason=RejectReason.MISSED)
    told = judge(Outcome.FOUND, LESIONS[:1], [missed])
    assert (told.truth, correct(told), told.missed, told.unmarked) == (Truth.PRESENT, [None], 0, True)
    told = judge(Outcome.FOUND, LESIONS[:1], [missed, says(Answer.REJECT, FIRST)])
    assert (told.truth, correct(told), told.unmarked) == (Truth.PRESENT, [False], True)
    told = judge(Outcome.FOUND, LESIONS[:1], [missed, says(Answer.ADD, "2.25.99")])
    assert (correct(told), told.missed, told.unmarked) == ([None], 1, False)


@pytest.mark.parametrize(("blind", "own"), [(True, Truth.ABSENT), (False, Truth.UNKNOWN)])
def test_an_own_assessment_counts_where_the_result_was_not_shown(blind: bool, own: Truth) -> None:
    told = of(says(Answer.ABSENT, blind=blind), says(Answer.ACCEPT, FIRST))
    assert (told.own, told.truth) == (own, Truth.PRESENT)


def test_a_reader_who_changed_their_mind_is_told_from_two_who_differ() -> None:
    blind = says(Answer.ABSENT, blind=True)
    assert of(blind).changed is None
    assert of(blind, says(Answer.ACCEPT, FIRST, reader="Dr B")).changed is None
    assert of(blind, says(Answer.ACCEPT, FIRST, reader="Dr B"), says(Answer.REJECT)).changed is False
    assert of(blind, says(Answer.REJECT, reader="Dr B"), says(Answer.ACCEPT, FIRST)).changed is True


def test_unsure_says_nothing() -> None:
    assert of(says(Answer.UNSURE, blind=True)).own is Truth.UNKNOWN
