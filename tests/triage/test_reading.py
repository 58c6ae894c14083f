"""The place in the list, and how far the reading of a study is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.triage.job import OrderPriority
from services.triage.reading import (
    AGEING,
    UNREAD,
    ReadAgain,
    ReadingAction,
    ReadingState,
    ReadingStep,
    rank,
    reading_of,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = st.integers(-5 * 365 * 86400, 5 * 365 * 86400).map(lambda seconds: NOON + timedelta(seconds=seconds))
URGENCIES = st.integers(0, 2)


def step(action: ReadingAction, reader: str = "A", minutes: float = 0) -> ReadingStep:
    return ReadingStep(action=action, reader=reader, at=NOON + timedelta(minutes=minutes))


def test_at_one_moment_the_order_comes_before_the_flag():
    places = [(priority, urgency) for priority in OrderPriority for urgency in range(3)]
    assert sorted(places, key=lambda one: rank(*one, NOON)) == places


@given(URGENCIES, MOMENTS, URGENCIES, MOMENTS, st.sampled_from([OrderPriority.HIGH, OrderPriority.ROUTINE]))
def test_no_age_takes_anything_past_stat(stat, stat_came, other, other_came, priority):
    assert rank(OrderPriority.STAT, stat, stat_came) < rank(priority, other, other_came)


@given(st.sampled_from(list(OrderPriority)), MOMENTS)
def test_a_flag_only_ever_moves_a_study_up(priority, came):
    assert rank(priority, 0, came) < rank(priority, 1, came) < rank(priority, 2, came)


@pytest.mark.parametrize(("waited_longer", "is_first"), [(AGEING * 0.99, False), (AGEING * 1.01, True)])
def test_a_wait_of_one_step_makes_up_for_one_step(waited_longer, is_first):
    waiting = rank(OrderPriority.ROUTINE, 2, NOON - waited_longer)
    assert (waiting < rank(OrderPriority.ROUTINE, 1, NOON)) is is_first


def test_the_newest_step_decides():
    taken, over = step(ReadingAction.TAKEN, "A"), step(ReadingAction.TAKEN, "B", 1)
    steps = [taken, over, step(ReadingAction.READ, "B", 2), step(ReadingAction.REOPENED, "A", 3)]
    told = [reading_of(steps[:n], last_image_at=None, flagged_at=None) for n in range(5)]
    assert [(one.state, one.reader) for one in told] == [
        (ReadingState.UNREAD, ""),
        (ReadingState.TAKEN, "A"),
        (ReadingState.TAKEN, "B"),
        (ReadingState.READ, "B"),
        (ReadingState.UNREAD, ""),
    ]
    assert told[0] == told[4] == UNREAD


def test_what_came_after_the_reading_nobody_has_seen():
    read, later = [step(ReadingAction.READ)], NOON + timedelta(minutes=1)
    assert reading_of(read, last_image_at=NOON, flagged_at=NOON).state is ReadingState.READ
    assert reading_of(read, last_image_at=later, flagged_at=None).again is ReadAgain.NEW_IMAGES
    flagged = reading_of(read, last_image_at=NOON, flagged_at=later)
    assert (flagged.state, flagged.again) == (ReadingState.UNREAD, ReadAgain.FLAGGED)
    taken = [step(ReadingAction.TAKEN)]
    assert reading_of(taken, last_image_at=later, flagged_at=later).state is ReadingState.TAKEN
