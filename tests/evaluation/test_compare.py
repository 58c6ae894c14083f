"""What is found against what is true, on masks of which every figure is known; and the figures of many."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from services.evaluation.compare import Candidate, StudyRecord, TrueLesion, compare, dice, surface_dice
from services.evaluation.report import percent_words
from services.evaluation.summary import Summary, summarise
from services.observatory.estimate import Estimate
from services.worker.lesions import find_candidates
from tests.support.lesion_case import a_model, affine_of, segmentation_of, volume_of

VOLUME = volume_of(np.zeros((20, 40, 40)), affine_of((2.0, 1.0, 1.0)))


def box(z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(VOLUME.voxels.shape, dtype=bool)
    mask[slice(*z), slice(*y), slice(*x)] = True
    return mask


def test_dice_and_surfaces_of_shifted_boxes() -> None:
    one, shifted = box((5, 15), (10, 20), (10, 20)), box((5, 15), (10, 20), (12, 22))
    assert dice(one, shifted) == pytest.approx(0.8)
    assert surface_dice(one, shifted, VOLUME.spacing_mm, 2.0) == pytest.approx(1.0)
    assert surface_dice(one, shifted, VOLUME.spacing_mm, 1.0) < 0.95
    nothing = np.zeros_like(one)
    assert (dice(nothing, nothing), surface_dice(nothing, nothing, VOLUME.spacing_mm, 2.0)) == (None, None)
    assert (dice(one, nothing), surface_dice(one, nothing, VOLUME.spacing_mm, 2.0)) == (0.0, 0.0)


def test_a_study_is_told_lesion_by_lesion() -> None:
    """Two lesions: one hit in its half, one missed; a false candidate, and one below the threshold that hits."""
    truth = box((2, 6), (2, 10), (2, 10)) | box((12, 16), (30, 34), (30, 34))
    found, false, faint = box((2, 6), (2, 10), (2, 6)), box((10, 12), (2, 6), (2, 6)), box((12, 16), (30, 34), (30, 31))
    probability = found * 230 + false * 180 + faint * 100
    candidates = find_candidates(segmentation_of(probability > 0, probability), VOLUME, a_model())
    told = compare(candidates, truth, VOLUME, detect=0.5, tolerance_mm=2.0)

    assert [one.hit for one in told.candidates] == [True, False, True]
    large, small = sorted(told.lesions, key=lambda one: -one.volume_ml)
    assert (large.volume_ml, small.volume_ml) == (pytest.approx(0.512), pytest.approx(0.128))
    assert large.diameter_mm == pytest.approx((6 * 512 / np.pi) ** (1 / 3))
    assert (large.score, small.score) == (pytest.approx(230 / 255), pytest.approx(100 / 255))
    assert (large.dice, small.dice) == (pytest.approx(2 * 128 / (128 + 256)), 0.0)
    assert told.reference_ml == pytest.approx(0.64)
    assert told.found_ml == pytest.approx((128 + 32) * 2 / 1000)
    assert told.dice == pytest.approx(2 * 128 / (160 + 320))


def record(
    number: int, *, scores: tuple[float, ...] = (), false: tuple[float, ...] = (), sex: str = "F", gap_ml: float = 0.0
) -> StudyRecord:
    lesions = tuple(TrueLesion(volume_ml=4.2, diameter_mm=20.0, score=score, dice=0.8) for score in scores)
    told = [(score, True) for score in scores if score] + [(score, False) for score in false]
    return StudyRecord(
        study_instance_uid=f"2.25.{number}",
        series_instance_uid=f"2.25.{number}.1",
        lesions=lesions,
        candidates=tuple(Candidate(score=score, volume_ml=1.0, hit=hit) for score, hit in told),
        dice=0.8 if scores else None,
        surface_dice=0.9 if scores else None,
        reference_ml=4.2 * len(scores),
        found_ml=4.2 * len(scores) + gap_ml,
        groups={"sex": sex},
        cautions=(),
        seconds=1.0,
    )


def test_figures_of_many_studies_and_of_groups() -> None:
    records = [
        record(1, scores=(0.9, 0.4), false=(0.7,), gap_ml=1),
        record(2, scores=(0.8,), sex="M", gap_ml=3),
        record(3, false=(0.6, 0.3), gap_ml=2),
        record(4, sex="M", gap_ml=2),
    ]
    told = summarise(records, detect=0.5)
    overall = told.overall
    assert (overall.series, overall.studies, overall.with_lesion, overall.lesions) == (4, 4, 2, 3)
    assert (overall.sensitivity.count, overall.sensitivity.n) == (2, 3)
    assert overall.false_per_series.value == 0.5
    assert (overall.series_sensitivity.count, overall.series_specificity.count) == (2, 1)
    assert overall.false_per_series.lower <= 0.5 <= overall.false_per_series.upper
    assert told.by_size["10 to 30 mm"][0].n == 3
    assert told.by_size["0 to 6 mm"][0].n is None
    assert told.groups["sex"]["M"].sensitivity.count == 1
    assert told.agreement.bias_ml.value == pytest.approx(2.0)
    assert told.agreement.upper_ml.value == pytest.approx(2 + 1.96 * np.std([1, 3, 2, 2], ddof=1))
    curve = [(one.threshold, one.sensitivity.count, one.false_per_series.value) for one in told.froc]
    assert curve[0] == (0.9, 1, 0.0)
    assert curve[-1] == (0.3, 3, 0.75)
    assert summarise(records, detect=0.5) == told, "the seed is fixed"


def unlike(number: int) -> StudyRecord:
    """Of every kind: every third study has no lesion, every fourth lesion is missed, no two overlap alike."""
    scores = () if number % 3 == 0 else (0.3 if number % 4 == 0 else 0.9,)
    told = record(number, scores=scores, false=(0.7,) * (number % 3), gap_ml=number)
    overlap = 0.4 + 0.05 * number
    lesions = tuple(replace(one, dice=overlap) for one in told.lesions)
    return replace(told, lesions=lesions, dice=overlap if lesions else None, surface_dice=overlap if lesions else None)


def series_ten_times(told: StudyRecord) -> list[StudyRecord]:
    return [replace(told, series_instance_uid=f"{told.series_instance_uid}.{copy}") for copy in range(10)]


def lesions_ten_times(told: StudyRecord) -> list[StudyRecord]:
    return [replace(told, lesions=told.lesions * 10)]


def estimates(told: Summary) -> Iterator[tuple[str, Estimate]]:
    overall = told.overall
    yield from ((name, one) for name in dir(overall) if isinstance(one := getattr(overall, name), Estimate))
    yield from (("by size", one) for pair in told.by_size.values() for one in pair)
    yield from (("FROC", one) for point in told.froc for one in (point.sensitivity, point.false_per_series))
    yield "bias", told.agreement.bias_ml


@pytest.mark.parametrize("again", [series_ten_times, lesions_ten_times])
@pytest.mark.parametrize(
    "numbers", [range(1, 10), (1, 2, 5), (1,), (4,)], ids=["many", "all found", "one", "one missed"]
)
def test_what_a_study_has_ten_times_narrows_no_interval(again, numbers) -> None:
    records = [unlike(number) for number in numbers]
    copies = [copy for one in records for copy in again(one)]
    once, often = summarise(records, detect=0.5), summarise(copies, detect=0.5)
    assert (often.overall.series, often.overall.studies) == (len(copies), len(records))
    for (name, before), (_, after) in zip(estimates(once), estimates(often), strict=True):
        assert after.value == pytest.approx(before.value), name
        if after.lower is not None:
            assert before.lower is not None, name
            assert after.lower <= before.lower + 1e-9, name
            assert after.upper >= before.upper - 1e-9, name


def test_lesions_of_a_single_study_that_are_found_in_part_have_no_interval() -> None:
    told = summarise([record(1, scores=(0.9, 0.8, 0.3))], detect=0.5).overall.sensitivity
    assert told == Estimate(value=2 / 3, count=2, n=3)
    assert percent_words(told) == "67 %, 2 of 3"
