"""Figures of many studies, each with its 95 % interval: Wilson's for shares, else a bootstrap that draws studies.

Series and lesions of one study are alike: no interval takes them for studies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.evaluation.compare import StudyRecord, TrueLesion
from services.evaluation.separation import Separation, separation
from services.observatory.estimate import HIDDEN, LEVEL, SEED, Estimate, clustered_share, share

SIZE_BANDS_MM = ((0.0, 6.0), (6.0, 10.0), (10.0, 30.0), (30.0, 1000.0))
DRAWS = 1000
FROC_POINTS = 40

Records = Sequence[StudyRecord]
Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrocPoint:
    """At one threshold of the score: the share of lesions found, and false candidates per series."""

    threshold: float
    sensitivity: Estimate
    false_per_series: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Bland and Altman 1986, of total volumes: found minus true, mL. limits: mean and 1.96 standard deviations."""

    bias_ml: Estimate
    lower_ml: Estimate
    upper_ml: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of one group of series. dice, surface_dice: medians over series in which there is something on either side."""

    series: int
    studies: int
    with_lesion: int
    lesions: int
    sensitivity: Estimate
    false_per_series: Estimate
    dice: Estimate
    surface_dice: Estimate
    series_sensitivity: Estimate
    series_specificity: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Everything that the report tells. by_size: of lesions; groups: by attribute and label.

    separation: None where mirrored runs were not asked for.
    """

    overall: Figures
    by_size: dict[str, tuple[Estimate, Estimate]]
    groups: dict[str, dict[str, Figures]]
    froc: tuple[FrocPoint, ...]
    agreement: Agreement
    separation: Separation | None


def summarise(records: Records, *, detect: float) -> Summary:
    """The figures of all records at the detection threshold, and the curve over all thresholds."""
    attributes = {
        name: sorted({one.groups[name] for one in records}) for name in (records[0].groups if records else ())
    }
    return Summary(
        overall=figures(records, detect),
        by_size={name: _of_size(records, band, detect) for name, band in _bands().items()},
        groups={
            name: {label: figures([one for one in records if one.groups[name] == label], detect) for label in labels}
            for name, labels in attributes.items()
        },
        froc=tuple(_froc_point(records, threshold) for threshold in _thresholds(records)),
        agreement=_agreement(records),
        separation=separation(records, detect=detect),
    )


def figures(records: Records, detect: float) -> Figures:
    """Of one group."""
    ill = [one for one in records if one.lesions]
    well = [one for one in records if not one.lesions]
    return Figures(
        series=len(records),
        studies=len(set(_studies(records))),
        with_lesion=len(ill),
        lesions=sum(len(one.lesions) for one in ill),
        sensitivity=_sensitivity(records, detect),
        false_per_series=_of_series(records, lambda one: _false(one, detect), np.mean),
        dice=_of_series(records, lambda one: one.dice, np.median),
        surface_dice=_of_series(records, lambda one: one.surface_dice, np.median),
        series_sensitivity=share_by_study([one.score >= detect for one in ill], _studies(ill)),
        series_specificity=share_by_study([one.score < detect for one in well], _studies(well)),
    )


def bootstrap(values: Sequence[float], studies: Sequence[str], statistic: Statistic) -> Estimate:
    """A statistic with its percentile interval (Efron and Tibshirani 1993), fixed seed; whole studies are drawn.

    studies: of each value. No interval where all are of one.
    """
    if not values:
        return HIDDEN
    data, place = np.asarray(values, dtype=float), np.asarray(studies)
    mine = [np.flatnonzero(place == one) for one in dict.fromkeys(studies)]
    draw = np.random.default_rng(SEED)
    draws = (draw.integers(0, len(mine), len(mine)) for _ in range(DRAWS if len(mine) > 1 else 0))
    again = [statistic(data[np.concatenate([mine[number] for number in drawn])]) for drawn in draws]
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if again else (None, None)
    return Estimate(
        value=float(statistic(data)),
        lower=None if low is None else float(low),
        upper=None if high is None else float(high),
        n=len(data),
    )


def _of_series(records: Records, value: Callable[[StudyRecord], float | None], statistic: Statistic) -> Estimate:
    """A statistic of one value per series, of those that have it."""
    told = [(one.study_instance_uid, of_it) for one in records if (of_it := value(one)) is not None]
    return bootstrap([of_it for _, of_it in told], [study for study, _ in told], statistic)


def share_by_study(hits: Sequence[bool], studies: Sequence[str]) -> Estimate:
    """How many of some things that come in studies are hits; studies: of each. Mixed in a single one: no interval."""
    if not hits:
        return HIDDEN
    _, place = np.unique(studies, return_inverse=True)
    counts, sizes = np.bincount(place, weights=hits).astype(np.int64), np.bincount(place)
    count, n, several = sum(hits), len(hits), len(sizes)
    if count in (0, n):  # nothing tells how alike those of one study are: it counts as one
        return replace(share(several if count else 0, several, 1), count=count, n=n)
    if several == n:
        return share(count, n, 1)
    return clustered_share(counts, sizes, 1) if several > 1 else Estimate(value=count / n, count=count, n=n)


def _studies(records: Records) -> list[str]:
    return [one.study_instance_uid for one in records]


def _sensitivity(records: Records, threshold: float, wanted: Callable[[TrueLesion], bool] = lambda _: True) -> Estimate:
    """Of lesions."""
    told = _lesions(records, wanted)
    return share_by_study([lesion.score >= threshold for _, lesion in told], [study for study, _ in told])


def _lesions(records: Records, wanted: Callable[[TrueLesion], bool]) -> list[tuple[str, TrueLesion]]:
    """Each with its study."""
    return [(one.study_instance_uid, lesion) for one in records for lesion in one.lesions if wanted(lesion)]


def _false(record: StudyRecord, threshold: float) -> int:
    return sum(one.score >= threshold and not one.hit for one in record.candidates)


def _bands() -> dict[str, tuple[float, float]]:
    return {
        f"{low:g} to {high:g} mm" if high < 1000 else f"{low:g} mm and more": (low, high) for low, high in SIZE_BANDS_MM
    }


def _of_size(records: Records, band: tuple[float, float], detect: float) -> tuple[Estimate, Estimate]:
    """Sensitivity, and the median over lesions of Dice (missed count as 0)."""

    def wanted(lesion: TrueLesion) -> bool:
        return band[0] <= lesion.diameter_mm < band[1]

    told = _lesions(records, wanted)
    dice = bootstrap([lesion.dice for _, lesion in told], [study for study, _ in told], np.median)
    return _sensitivity(records, detect, wanted), dice


def _thresholds(records: Records) -> list[float]:
    scores = np.unique([one.score for record in records for one in record.candidates])
    if len(scores) > FROC_POINTS:
        scores = np.unique(np.quantile(scores, np.linspace(0, 1, FROC_POINTS), method="inverted_cdf"))
    return [float(score) for score in scores[::-1]]


def _froc_point(records: Records, threshold: float) -> FrocPoint:
    """Chakraborty 1989."""
    return FrocPoint(
        threshold=threshold,
        sensitivity=_sensitivity(records, threshold),
        false_per_series=_of_series(records, lambda one: _false(one, threshold), np.mean),
    )


def _agreement(records: Records) -> Agreement:
    def limit(sign: float) -> Statistic:
        return lambda values: float(values.mean() + sign * 1.96 * values.std(ddof=1 if len(values) > 1 else 0))

    def gap(one: StudyRecord) -> float:
        return one.found_ml - one.reference_ml

    return Agreement(
        bias_ml=_of_series(records, gap, np.mean),
        lower_ml=_of_series(records, gap, limit(-1)),
        upper_ml=_of_series(records, gap, limit(1)),
    )
