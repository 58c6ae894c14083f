"""Whether the spread over mirrored runs tells lesions from false candidates, on candidates of which it is known."""

from dataclasses import replace

import numpy as np
import pytest

from services.evaluation.compare import Candidate, StudyRecord
from services.evaluation.separation import separation
from services.evaluation.summary import summarise
from services.triage.uncertainty import TIME_LIMIT, Spread, Uncertainty


def candidate(score: float, sd: float | None, *, hit: bool) -> Candidate:
    spread = None if sd is None else Spread(runs=4, sd=sd, lowest=score - sd, highest=score + sd)
    return Candidate(score=score, volume_ml=1.0, hit=hit, spread=spread)


def record(number: int, *candidates: Candidate, uncertainty: Uncertainty | None = None) -> StudyRecord:
    asked = Uncertainty(spread=candidates[0].spread) if candidates else None
    return StudyRecord(
        study_instance_uid=f"2.25.{number}",
        series_instance_uid=f"2.25.{number}.1",
        lesions=(),
        candidates=candidates,
        dice=None,
        surface_dice=None,
        reference_ml=0.0,
        found_ml=0.0,
        groups={},
        cautions=(),
        seconds=1.0,
        uncertainty=uncertainty or asked,
    )


def test_the_area_is_the_share_of_pairs_that_are_told_apart_and_a_tie_is_half_a_pair() -> None:
    told = separation(
        [
            record(1, candidate(0.9, 0.01, hit=True), candidate(0.8, 0.2, hit=False)),
            record(2, candidate(0.7, 0.2, hit=True), candidate(0.6, 0.1, hit=False)),
        ],
        detect=0.5,
    )
    assert told is not None
    assert (told.found.true, told.found.false) == (2, 2)
    # the false 0.2 is above the true 0.01 and ties with the true 0.2; the false 0.1 is above 0.01 and below 0.2
    assert told.found.sd.value == pytest.approx(2.5 / 4)
    assert told.found.score.value == pytest.approx(3 / 4)


def test_only_what_reaches_detect_is_found_and_only_what_has_a_spread_is_counted() -> None:
    told = separation(
        [
            record(1, candidate(0.9, 0.01, hit=True), candidate(0.3, 0.2, hit=False)),
            record(2, candidate(0.8, None, hit=False), uncertainty=Uncertainty(reason=TIME_LIMIT)),
        ],
        detect=0.5,
    )
    assert told is not None
    assert (told.series, told.without) == (1, {"time_limit": 1})
    assert (told.found.true, told.found.false, told.found.sd.value) == (1, 0, None)
    assert (told.candidates.true, told.candidates.false, told.candidates.sd.value) == (1, 1, 1.0)
    assert (told.candidates.sd.lower, told.candidates.sd.upper) == (None, None), "one study has no interval"


@pytest.mark.parametrize(("shift", "tells"), [(0.1, True), (0.0, False)])
def test_the_interval_leaves_out_chance_where_it_tells_and_not_where_it_does_not(shift: float, tells: bool) -> None:
    draw = np.random.default_rng(5)
    records = [
        record(
            number,
            candidate(draw.uniform(0.5, 1), float(draw.uniform(0, 0.2)), hit=True),
            candidate(draw.uniform(0.5, 1), float(shift + draw.uniform(0, 0.2)), hit=False),
        )
        for number in range(80)
    ]
    told = separation(records, detect=0.5)
    assert told is not None
    assert (told.found.sd.lower > 0.5) is tells
    assert told.found.sd.lower < told.found.sd.value < told.found.sd.upper
    assert told.found.score.lower < 0.5 < told.found.score.upper


def test_candidates_of_one_study_are_alike_and_the_interval_allows_for_it() -> None:
    """The same four studies, each candidate told once or thirty times: no more is known."""
    few = [
        record(number, *(candidate(0.6 + number / 100, number / 50, hit=number in (0, 2)) for _ in range(copies)))
        for copies in (1, 30)
        for number in range(4)
    ]
    once, often = (separation(records, detect=0.5) for records in (few[:4], few[4:]))
    assert once is not None
    assert often is not None
    assert replace(once.found, true=0, false=0).sd.lower == pytest.approx(often.found.sd.lower)
    assert often.found.sd.upper == pytest.approx(once.found.sd.upper)


def test_where_nobody_asked_nothing_is_told() -> None:
    plain = replace(record(1, candidate(0.9, None, hit=True)), uncertainty=None)
    assert separation([plain], detect=0.5) is None
    assert summarise([plain], detect=0.5).separation is None
