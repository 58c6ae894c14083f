"""What answered against what a shadow says, in pairs."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.observatory.paired import Pair, Side, compare, pairings
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.inference import REFERENCE, Inference, InferenceMode

OLD = Side(
    version="1", outcome=Outcome.FOUND, flag=Flag.URGENT, score=0.9, looked_s=10.0, energy_j=100.0, inference=None
)
NEW = replace(OLD, version="2", score=0.8, looked_s=5.0, energy_j=20.0)
PAIR = Pair(
    result_id="r",
    study_instance_uid="1.2",
    model="lung",
    frozen_at=datetime(2026, 3, 1, tzinfo=UTC),
    answer=OLD,
    shadow=NEW,
    dice=0.9,
    lesions_both=1,
    lesions_answer_only=0,
    lesions_shadow_only=0,
    lesions_shadow=1,
)
NOTHING = replace(NEW, outcome=Outcome.NOTHING_FOUND, flag=Flag.ROUTINE, score=0.1)
MISSED = replace(PAIR, shadow=NOTHING, dice=0.0, lesions_both=0, lesions_answer_only=1, lesions_shadow=0)
GONE = replace(
    PAIR,
    shadow=replace(NEW, outcome=Outcome.NOT_ANALYSED, flag=Flag.ROUTINE, score=None, looked_s=None, energy_j=None),
    dice=None,
    lesions_both=None,
    lesions_answer_only=None,
    lesions_shadow_only=None,
    lesions_shadow=0,
)


def figures(*pairs: Pair, minimum: int = 5):
    return compare(("lung", "1", "2"), pairs, minimum=minimum)


def test_agreement_is_a_share_with_wilsons_interval_of_studies_that_both_looked_at() -> None:
    told = figures(*[PAIR] * 8, *[MISSED] * 2, *[GONE] * 5)
    assert (told.outcome.count, told.outcome.n, told.outcome.value) == (8, 10, 0.8)
    assert (told.outcome.lower, told.outcome.upper) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (told.flag.count, told.flag.n) == (8, 10)
    assert (told.lesions.count, told.lesions.n) == (16, 18)
    assert told.outcomes == {
        (Outcome.FOUND, Outcome.FOUND): 8,
        (Outcome.FOUND, Outcome.NOTHING_FOUND): 2,
        (Outcome.FOUND, Outcome.NOT_ANALYSED): 5,
    }


def test_lesions_of_either_version_count_whichever_of_the_two_answers() -> None:
    """One lesion here, there three pieces of it and one elsewhere."""
    whole = replace(PAIR, lesions_shadow_only=1, lesions_shadow=4)
    pieces = replace(PAIR, lesions_both=3, lesions_answer_only=1, lesions_shadow=1)
    for one in (whole, pieces):
        told = figures(*[one] * 5).lesions
        assert (told.count, told.n) == (5 * 4, 5 * 5)


def test_how_the_networks_ran_is_counted_of_studies_that_both_looked_at_and_not_made_up() -> None:
    fast = Inference(mode=InferenceMode.FAST)
    held_back = Inference(why=Reason(code="differs", text="further apart"))
    mixed = replace(PAIR, answer=replace(OLD, inference=REFERENCE), shadow=replace(NEW, inference=fast))
    same = replace(PAIR, answer=replace(OLD, inference=REFERENCE), shadow=replace(NEW, inference=held_back))
    told = figures(PAIR, *[mixed] * 2, *[same] * 3, GONE)
    assert list(told.inference.items()) == [
        ((InferenceMode.REFERENCE, InferenceMode.REFERENCE), 3),
        ((InferenceMode.REFERENCE, InferenceMode.FAST), 2),
        ((None, None), 1),
    ]


def test_dice_score_time_and_energy_are_paired() -> None:
    told = figures(*[PAIR] * 6, *[MISSED] * 4)
    assert (told.dice.median.value, told.dice.lower_quartile, told.dice.upper_quartile) == (0.9, 0.0, 0.9)
    assert told.score_shift.value == pytest.approx(-(6 * 0.1 + 4 * 0.8) / 10)
    assert told.time.median.value == 0.5
    assert told.energy.median.value == 0.2


def test_no_figure_is_told_of_fewer_studies_than_the_minimum() -> None:
    told = figures(*[PAIR] * 4)
    for one in (told.outcome, told.flag, told.lesions, told.score_shift, told.dice.median, told.time.median):
        assert one.value is None
    assert told.dice.lower_quartile is None
    assert told.outcomes == {(Outcome.FOUND, Outcome.FOUND): 4}


def test_pairs_of_other_versions_are_not_mixed() -> None:
    other = replace(PAIR, answer=replace(OLD, version="1.5"))
    assert {pairing: len(pairs) for pairing, pairs in pairings([PAIR, other, PAIR]).items()} == {
        ("lung", "1", "2"): 2,
        ("lung", "1.5", "2"): 1,
    }
