"""When a version is complete, by all that is known of it; and what a PACS has more."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.completeness import (
    ROUTABLE_MODALITIES,
    Announced,
    Announcer,
    Answer,
    Evidence,
    Inquired,
    Patience,
    decide,
)
from services.triage.pacs import SeriesAtPacs, missing_here
from tests.support.records import NOON, after

QUIET_S, GRACE_S, LONGEST_S = 15.0, 30.0, 900.0


def patience(*, grace_s: float | None = GRACE_S, since_s: float = 0.0) -> Patience:
    return Patience(
        quiet_period=timedelta(seconds=QUIET_S),
        grace=None if grace_s is None else timedelta(seconds=grace_s),
        longest_wait=timedelta(seconds=LONGEST_S),
        since=after(since_s),
    )


def evidence(
    outcome: Inquired | None = None, *, missing: int | None = None, in_progress: bool = False, asked: bool = False
) -> Evidence:
    announced = missing is not None and Announced(
        by=Announcer.MPPS, instances=300, missing=missing, in_progress=in_progress
    )
    return Evidence(
        last_image_at=NOON,
        completion_asked=asked,
        answer=Answer(outcome=outcome, text="text") if outcome else None,
        announced=announced or None,
    )


def said(found: Evidence, seconds: float, **choices: float | None) -> str | None:
    """The code that a version is completed on; 'quiet' without one; None while it waits."""
    completion = decide(found, now=after(seconds), patience=patience(**choices))
    return None if completion is None else completion.said.code if completion.said else "quiet"


def test_without_a_pacs_the_quiet_period_decides():
    assert said(evidence(), QUIET_S - 0.1, grace_s=None) is None
    assert said(evidence(), QUIET_S, grace_s=None) == "quiet"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Inquired.ALL_HERE, "pacs_agrees"),
        (Inquired.UNKNOWN, "pacs_unknown"),
        (Inquired.NOT_ASKED, "quiet"),
    ],
)
def test_a_pacs_that_has_no_more_completes_it_after_the_quiet_period_and_never_before(outcome: Inquired, code: str):
    assert said(evidence(outcome), QUIET_S - 0.1) is None
    assert said(evidence(outcome), QUIET_S) == code


def test_a_pacs_that_has_more_holds_it_for_the_longest_wait_and_then_it_is_said():
    assert said(evidence(Inquired.MORE), LONGEST_S - 0.1) is None
    assert said(evidence(Inquired.MORE), LONGEST_S) == "pacs_has_more"


@pytest.mark.parametrize("outcome", [None, Inquired.UNREACHABLE])
def test_a_pacs_that_is_silent_or_away_delays_it_by_the_grace_and_no_longer(outcome: Inquired | None):
    assert said(evidence(outcome), QUIET_S + GRACE_S - 0.1) is None
    assert said(evidence(outcome), QUIET_S + GRACE_S) == "pacs_unreachable"
    assert said(evidence(outcome), QUIET_S, grace_s=0) == "pacs_unreachable"


def test_the_grace_begins_when_somebody_is_there_to_wait():
    assert said(evidence(), 1000 + GRACE_S - 0.1, since_s=1000) is None
    assert said(evidence(), 1000 + GRACE_S, since_s=1000) == "pacs_unreachable"


@pytest.mark.parametrize("outcome", [None, *Inquired])
def test_who_asks_for_completion_has_the_first_word(outcome: Inquired | None):
    assert said(evidence(outcome, missing=5, asked=True), 0) == "quiet"


def test_all_that_was_announced_being_here_completes_it_at_once():
    assert said(evidence(missing=0), 0) == "mpps_completed"
    assert said(evidence(Inquired.MORE, missing=0), 0) == "mpps_completed"


def test_what_was_announced_is_waited_for_but_not_for_ever():
    assert said(evidence(Inquired.ALL_HERE, missing=1), LONGEST_S - 0.1) is None
    assert said(evidence(Inquired.ALL_HERE, missing=1), LONGEST_S) == "instances_missing"


def test_a_step_in_progress_takes_the_haste_from_another_but_holds_nothing():
    going_on = evidence(missing=0, in_progress=True)
    assert said(going_on, QUIET_S - 0.1, grace_s=None) is None
    assert said(going_on, QUIET_S, grace_s=None) == "quiet"


@given(
    outcome=st.sampled_from([None, *Inquired]),
    missing=st.none() | st.integers(0, 3),
    in_progress=st.booleans(),
    seconds=st.floats(0, 2 * LONGEST_S),
)
def test_nothing_waits_longer_than_the_longest_wait_and_what_is_complete_stays_so(
    outcome: Inquired | None, missing: int | None, in_progress: bool, seconds: float
):
    found = evidence(outcome, missing=missing, in_progress=in_progress)
    assert said(found, LONGEST_S) is not None
    if said(found, seconds) is not None:
        assert said(found, seconds + 1) is not None


def test_only_images_count_that_are_not_here_and_a_series_of_no_modality_may_be_some():
    there = [
        SeriesAtPacs(series_instance_uid="1", modality="CT", instances=300),
        SeriesAtPacs(series_instance_uid="2", modality="CT", instances=100),
        SeriesAtPacs(series_instance_uid="3", modality="SR", instances=4),
        SeriesAtPacs(series_instance_uid="4", modality="", instances=7),
        SeriesAtPacs(series_instance_uid="5", modality="SEG", instances=1),
    ]
    assert missing_here(there, {"1": 290, "2": 120}, ROUTABLE_MODALITIES) == {"1": 10, "4": 7}
