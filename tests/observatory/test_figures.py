"""Every figure against direct counting, on histories small enough to count."""

import csv
from collections.abc import Sequence
from datetime import timedelta
from io import StringIO
from math import log, sqrt

import numpy as np
import pytest

from services.gateway.language import speaking
from services.gateway.observatory import plots
from services.gateway.observatory.sheet import csv_of
from services.observatory.agreement import Measure, measures
from services.observatory.calibration import calibration
from services.observatory.chart import NoChart
from services.observatory.drift import psi
from services.observatory.estimate import HIDDEN, clustered_share, quantile, share
from services.observatory.figures import Figures, Scope, co2_g, observe
from services.observatory.groups import grouping
from services.observatory.history import Attribute, history_of
from services.observatory.holm import holm
from services.observatory.lesionwise import froc
from services.observatory.record import JudgedLesion, Judgement, Record, Traits
from services.triage.finding import Flag, Outcome
from services.triage.verdict import Truth
from tests.support.histories import START

F, N, E, X = Outcome.FOUND, Outcome.NOTHING_FOUND, Outcome.EQUIVOCAL, Outcome.NOT_ANALYSED
P, A, U = Truth.PRESENT, Truth.ABSENT, Truth.UNKNOWN


def record(outcome: Outcome, truth: Truth = U, own: Truth = U, **told: object) -> Record:
    judgement = told.pop("judgement", None) or Judgement(truth=truth, own=own)
    return Record(
        **{  # type: ignore[arg-type]
            "result_id": "r",
            "study_instance_uid": "1.2",
            "model": "m",
            "model_version": "1",
            "frozen_at": START,
            "outcome": outcome,
            "score": 0.9 if outcome is F else 0.1 if outcome.analysed else None,
            "judgement": judgement,
            **told,
        }
    )


def figures(records: Sequence[Record], reference: Sequence[Record] = (), minimum: int = 1) -> Figures:
    scope = Scope(model="m", model_version="1", since=START, until=START, reference_since=START)
    return observe(history_of(records), history_of(reference), scope, minimum=minimum)


def counted(records: Sequence[Record]) -> dict[Measure, tuple[int | None, int | None]]:
    return {measure: (one.count, one.n) for measure, one in measures(history_of(records), 1).items()}


MIXED = [
    *[record(F, P)] * 6,
    *[record(F, A)] * 2,
    *[record(F)] * 2,
    *[record(N, A)] * 9,
    record(N, P),
    *[record(N)] * 28,
    record(E, P),
    record(E, A),
    *[record(X, reason="too_few_slices")] * 3,
    record(Outcome.FAILED, reason="out_of_memory"),
]


def test_studies_are_counted_where_they_belong() -> None:
    told = counted(MIXED)
    assert told[Measure.ANALYSED] == (50, 54)
    assert told[Measure.FOUND] == (10, 50)
    assert told[Measure.ANSWERED] == (20, 50)
    assert told[Measure.ANSWERED_FOUND] == (8, 10)
    assert told[Measure.ANSWERED_NOT_FOUND] == (12, 40)
    assert told[Measure.PPV] == (6, 8)
    assert told[Measure.NPV] == (10, 12)
    assert told[Measure.SENSITIVITY] == (6, 8)
    assert told[Measure.SPECIFICITY] == (10, 12)
    assert figures(MIXED).reasons == {"too_few_slices": 3, "out_of_memory": 1}


def test_the_correction_weighs_each_outcome_by_how_often_it_is() -> None:
    told = measures(history_of(MIXED), 1)
    hit, missed = 10 * 6 / 8, 40 * 2 / 12
    false, right = 10 * 2 / 8, 40 * 10 / 12
    assert told[Measure.SENSITIVITY_CORRECTED].value == pytest.approx(hit / (hit + missed))
    assert told[Measure.SPECIFICITY_CORRECTED].value == pytest.approx(right / (right + false))


def test_blind_reads_are_counted_by_what_the_reader_saw_alone() -> None:
    told = counted(
        [record(F, A, P), record(F, U, P), record(N, A, P), record(N, U, A), record(F, A, A), record(X, U, P)]
    )
    assert told[Measure.SENSITIVITY_BLIND] == (2, 3)
    assert told[Measure.SPECIFICITY_BLIND] == (1, 2)


def test_readers_changed_their_mind_among_those_that_one_reader_answered_twice() -> None:
    answers = [Judgement(truth=P, own=A), Judgement(own=A, changed=True), Judgement(truth=A, own=A, changed=False)]
    assert counted([record(F, judgement=one) for one in answers])[Measure.CHANGED] == (1, 2)


def test_flags_are_those_that_move_a_study_up() -> None:
    flags = [Flag.URGENT, Flag.ELEVATED, Flag.ROUTINE, Flag.ROUTINE]
    assert counted([record(F, flag=flag) for flag in flags])[Measure.FLAGGED] == (2, 4)


@pytest.mark.parametrize(("count", "n"), [(0, 20), (8, 10), (20, 20)])
def test_a_share_has_wilsons_interval(count: int, n: int) -> None:
    z, p = 1.959963984540054, count / n
    centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    told = share(count, n, 1)
    assert told.lower == pytest.approx(max(0, (centre - half) / (1 + z * z / n)), abs=1e-12)
    assert told.upper == pytest.approx(min(1, (centre + half) / (1 + z * z / n)), abs=1e-12)


def test_lesions_of_one_study_count_as_less_than_lesions_of_many() -> None:
    apart = clustered_share(np.array([1, 0] * 20), np.array([1] * 40), 1)
    together = clustered_share(np.array([4, 0] * 5), np.array([4] * 10), 1)
    assert apart.value == together.value == 0.5
    assert apart.lower == pytest.approx(share(20, 40, 1).lower, abs=0.01)
    assert together.lower is not None
    assert apart.lower is not None
    assert together.lower < apart.lower - 0.05


@pytest.mark.parametrize("n", [0, 19])
def test_below_the_minimum_nothing_is_told(n: int) -> None:
    told = figures([record(F, P)] * n, minimum=20)
    assert set(told.measures.values()) == {HIDDEN}
    assert told.times.to_flag_p50 == told.consumption.joules == told.calibration.brier == HIDDEN
    assert told.froc == ()
    assert told.groupings[0].groups == ()


def test_small_groups_are_counted_and_not_shown() -> None:
    traits = [Traits(sex="F")] * 30 + [Traits(sex="M")] * 25 + [Traits(sex="O")] * 3
    told = grouping(history_of([record(F, P, traits=one) for one in traits]), Attribute.SEX, 20)
    assert [(one.label, one.measures[Measure.PPV].n) for one in told.groups] == [("F", 30), ("M", 25)]
    assert told.small == 1


@pytest.mark.parametrize(
    ("traits", "attribute", "label"),
    [
        (Traits(age_years=0), Attribute.AGE, "0-17"),
        (Traits(age_years=17), Attribute.AGE, "0-17"),
        (Traits(age_years=18), Attribute.AGE, "18-39"),
        (Traits(age_years=99), Attribute.AGE, "75+"),
        (Traits(), Attribute.AGE, ""),
        (Traits(slice_thickness_mm=1.5), Attribute.THICKNESS, "0-1.5"),
        (Traits(slice_thickness_mm=1.6), Attribute.THICKNESS, "1.5-3"),
        (Traits(slice_thickness_mm=8.0), Attribute.THICKNESS, "5+"),
        (Traits(slice_thickness_mm=0.0), Attribute.THICKNESS, ""),
    ],
)
def test_bands_begin_where_they_say(traits: Traits, attribute: Attribute, label: str) -> None:
    history = history_of([record(F, traits=traits)])
    assert history.labels[attribute] == (label,)


def judged(*lesions: tuple[float, bool | None], missed: int = 0, truth: Truth = P) -> Record:
    told = Judgement(
        truth=truth, lesions=tuple(JudgedLesion(score=score, correct=right) for score, right in lesions), missed=missed
    )
    return record(F if lesions else N, judgement=told)


def test_operating_points_count_lesions_and_false_ones() -> None:
    history = history_of(
        [
            judged((0.9, True), (0.6, False)),
            judged((0.8, True), missed=1),
            judged((0.7, False), truth=A),
            judged(truth=A),
            judged((0.5, None), (0.5, True)),  # not all judged: left out
            record(N, P),  # missed, but how many: left out
        ]
    )
    told = {
        point.threshold: (point.sensitivity.count, point.sensitivity.n, point.false_per_study.value)
        for point in froc(history, 1)
    }
    assert told == {0.9: (1, 3, 0.0), 0.8: (2, 3, 0.0), 0.7: (2, 3, 0.25), 0.6: (2, 3, 0.5)}
    lesion_ppv = measures(history, 1)[Measure.LESION_PPV]
    assert (lesion_ppv.count, lesion_ppv.n) == (3, 5)


def test_studies_in_which_a_lesion_was_missed_and_not_marked_are_in_no_operating_point() -> None:
    right = judged((0.9, True))
    missed = record(F, judgement=Judgement(truth=P, lesions=(JudgedLesion(score=0.9, correct=False),), unmarked=True))
    wrong = judged((0.9, False))  # there is a lesion, and it is not this one
    told = figures([*[right] * 20, *[missed] * 15, *[wrong] * 5], minimum=20)
    (point,) = told.froc
    assert (point.sensitivity.count, point.sensitivity.n, told.unmarked) == (20, 20, 20)
    assert figures([record(N, P), judged((0.5, None))]).unmarked == 1


def test_the_reliability_diagram_has_bins_of_equal_counts() -> None:
    records = [record(F, P if right else A, score=score) for score, right in ((0.2, 0), (0.4, 1), (0.6, 0), (0.8, 1))]
    told = calibration(history_of([*records, record(F, score=0.5)]), 2)
    assert [(one.score, one.observed.count, one.observed.n) for one in told.bins] == [
        (pytest.approx(0.3), 1, 2),
        (pytest.approx(0.7), 1, 2),
    ]
    assert told.brier.value == pytest.approx((0.04 + 0.36 + 0.36 + 0.04) / 4)
    assert told.error.value == pytest.approx(0.2)


def test_times_and_energy_are_those_of_the_records() -> None:
    told = figures(
        [
            record(N, to_flag_s=float(n), waited_s=2.0 * n, energy_j=100.0 * n, energy_measured=n > 5)
            for n in range(1, 11)
        ]
    )
    assert (told.times.to_flag_p50.value, told.times.to_flag_p95.value) == (5.0, 10.0)
    assert told.times.waited_p50.value == 10.0
    assert (told.consumption.joules.value, told.consumption.total_joules) == (550.0, 5500.0)
    assert (told.consumption.studies, told.consumption.measured) == (10, 5)
    assert co2_g(3.6e6, 21.7) == pytest.approx(21.7)


def test_a_quantile_has_an_interval_of_any_distribution() -> None:
    told = quantile(np.arange(1.0, 101.0), 0.5, 1)
    assert told.value == 50
    assert told.lower == pytest.approx(40, abs=1)
    assert told.upper == pytest.approx(61, abs=1)


def test_holm_is_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_stability_index_is_as_defined() -> None:
    a, b = 30.5 / 101, 50.5 / 101
    assert psi(np.array([30, 70]), np.array([50, 50])) == pytest.approx(
        (a - b) * log(a / b) + ((1 - a) - b) * log((1 - a) / b)
    )


def test_alarms_of_days_need_a_rate_before() -> None:
    few = figures([record(F)] * 50, [record(F)] * 50)
    assert (few.flag_chart, few.no_flag_chart) == (None, NoChart.SHORT_REFERENCE)
    none = figures([record(X)] * 50, [record(F)] * 400)
    assert (none.flag_chart, none.no_flag_chart) == (None, NoChart.NOTHING_ANALYSED)
    later = [
        record(F, frozen_at=START + timedelta(days=n % 5), flag=Flag.URGENT if n % 10 == 0 else Flag.ROUTINE)
        for n in range(400)
    ]
    chart = figures(later, later).flag_chart
    assert chart is not None
    assert [(one.studies, one.flagged) for one in chart.days] == [(80, 40), (80, 0), (80, 0), (80, 0), (80, 0)]
    assert chart.rate == 0.1


def test_a_day_with_fewer_studies_than_the_minimum_is_not_told() -> None:
    def on(day: int, studies: int) -> list[Record]:
        return [record(F, flag=Flag.URGENT, frozen_at=START + timedelta(days=day))] * studies

    told = figures([*on(0, 1), *on(1, 19), *on(2, 20), *on(3, 1)], [record(F), *on(0, 399)], minimum=20)
    assert told.flag_chart is not None
    days = told.flag_chart.days
    assert [(one.studies, one.flagged) for one in days] == [(None, None), (None, None), (20, 20), (None, None)]
    assert [one.up is not None for one in days] == [False, True, True, True]
    sheet = list(csv.DictReader(StringIO(csv_of(told))))
    by_day = [(one["count"], one["n"]) for one in sheet if one["figure"] == "flagged_by_day"]
    assert by_day == [("", ""), ("", ""), ("20", "20"), ("", "")]
    with speaking("en"):
        plot = plots.flag_rate(told.flag_chart, "up", "down")
    assert [one.tag for one in plot.shapes].count("circle") == 1
