"""From candidates to one finding: outcome, score, flag."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.errors import Reason
from services.triage.finding import Finding, Flag, Outcome, assess, two_digits, without_analysis
from services.triage.lesion import Lesion
from services.triage.model import Thresholds

THRESHOLDS = Thresholds(equivocal_low=0.3, detect=0.5, elevated=0.7, urgent=0.9)
LESION = Lesion(
    number=1,
    tracking_uid="2.25.1",
    label="Lesion 1",
    class_value=1,
    score=0.5,
    volume_ml=1.0,
    long_axis_mm=12.0,
    short_axis_mm=10.0,
    max_diameter_3d_mm=14.0,
    centroid_lps_mm=(0.0, 0.0, 0.0),
    slice_range=(3, 5),
    key_slice=4,
    long_axis_ends=((4.0, 1.0, 1.0), (4.0, 9.0, 1.0)),
    mean_intensity=20.0,
    sd_intensity=5.0,
)


def candidates(*scores: float) -> list[Lesion]:
    ranked = sorted(scores, reverse=True)
    return [replace(LESION, number=number, score=score) for number, score in enumerate(ranked, start=1)]


def assessed(*scores: float) -> Finding:
    return assess(candidates(*scores), THRESHOLDS, calibrated=False)


@pytest.mark.parametrize(
    ("score", "outcome", "flag"),
    [
        (0.0, Outcome.NOTHING_FOUND, Flag.ROUTINE),
        (0.29, Outcome.NOTHING_FOUND, Flag.ROUTINE),
        (0.3, Outcome.EQUIVOCAL, Flag.ROUTINE),
        (0.49, Outcome.EQUIVOCAL, Flag.ROUTINE),
        (0.5, Outcome.FOUND, Flag.ROUTINE),
        (0.7, Outcome.FOUND, Flag.ELEVATED),
        (0.9, Outcome.FOUND, Flag.URGENT),
        (1.0, Outcome.FOUND, Flag.URGENT),
    ],
)
def test_a_threshold_belongs_to_what_it_opens(score, outcome, flag):
    finding = assessed(score)

    assert (finding.outcome, finding.flag, finding.score) == (outcome, flag, score)


def test_without_candidates_nothing_is_found_and_the_score_is_zero():
    finding = assessed()

    assert (finding.outcome, finding.score, finding.lesions) == (Outcome.NOTHING_FOUND, 0.0, ())


def test_a_found_study_keeps_no_doubtful_candidates():
    assert [lesion.score for lesion in assessed(0.95, 0.5, 0.4).lesions] == [0.95, 0.5]


def test_a_study_with_nothing_found_has_the_score_of_its_best_candidate_and_no_lesions():
    finding = assessed(0.2, 0.1)

    assert (finding.score, finding.lesions) == (0.2, ())


def test_whether_a_score_is_calibrated_is_told_with_it():
    assert assess(candidates(0.6), THRESHOLDS, calibrated=True).calibrated
    assert not assess(candidates(0.6), THRESHOLDS, calibrated=False).calibrated


@given(scores=st.lists(st.floats(0, 1), max_size=6))
def test_the_lesions_of_a_finding_are_the_first_candidates_by_number(scores):
    finding = assessed(*scores)

    assert [lesion.number for lesion in finding.lesions] == list(range(1, len(finding.lesions) + 1))
    assert bool(finding.lesions) == (finding.outcome in (Outcome.FOUND, Outcome.EQUIVOCAL))
    assert finding.score == max(scores, default=0.0)


@given(scores=st.lists(st.floats(0, 1), max_size=6), more=st.floats(0, 1))
def test_another_candidate_never_lowers_the_flag(scores, more):
    rank = [Flag.ROUTINE, Flag.ELEVATED, Flag.URGENT].index

    assert rank(assessed(*scores, more).flag) >= rank(assessed(*scores).flag)


@pytest.mark.parametrize("outcome", [Outcome.NOT_ANALYSED, Outcome.FAILED])
def test_a_study_that_was_not_looked_at_has_a_reason_and_no_score(outcome):
    reason = Reason(code="no_pixels", text="the series has no pixels")

    finding = without_analysis(outcome, reason)

    assert (finding.score, finding.flag, finding.lesions, finding.reason) == (None, Flag.ROUTINE, (), reason)
    assert not finding.outcome.analysed


@pytest.mark.parametrize("outcome", [Outcome.FOUND, Outcome.EQUIVOCAL, Outcome.NOTHING_FOUND])
def test_an_analysed_outcome_needs_candidates(outcome):
    assert outcome.analysed
    with pytest.raises(ValueError, match="analysed outcome"):
        without_analysis(outcome, Reason(code="x", text="x"))


@pytest.mark.parametrize("wrong", [(0.5, 0.3, 0.7, 0.9), (0.3, 0.8, 0.7, 0.9), (0.3, 0.5, 0.9, 0.7), (-0.1, 0, 0, 1)])
def test_thresholds_that_are_not_in_order_are_refused(wrong):
    low, detect, elevated, urgent = wrong
    with pytest.raises(ValueError, match="thresholds must satisfy"):
        Thresholds(equivocal_low=low, detect=detect, elevated=elevated, urgent=urgent)


@pytest.mark.parametrize(
    ("score", "told"), [(0.0, "0.00"), (237 / 255, "0.93"), (0.994, "0.99"), (0.9999, "0.99"), (1.0, "1.00")]
)
def test_only_certainty_reads_as_1(score, told):
    assert two_digits(score) == told
