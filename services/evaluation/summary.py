"""Figures of many studies, each with its 95 % interval: Wilson's for shares, else a bootstrap that draws studies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.evaluation.compare import StudyRecord, TrueLesion
from services.evaluation.separation import Separation, separation
from services.observatory.estimate import HIDDEN, LEVEL, SEED, Estimate, clustered_share, share

SIZE_BANDS_MM = ((0.0, 6.0), (6.0, 10.0), (10.0, 30.0), (30.0, 1000.0))
DRAWS = 1000
FROC_POINTS = 40

Records = Sequence[StudyRecord]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrocPoint:
    """At one threshold of the score: the share of lesions found, and false candidates per study."""

    threshold: float
    sensitivity: Estimate
    false_per_study: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Bland and Altman 1986, of total volumes: found minus true, mL. limits: mean and 1.96 standard deviations."""

    bias_ml: Estimate
    lower_ml: Estimate
    upper_ml: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of one group of studies. dice, surface_dice: medians over studies in which there is something on either side."""

    studies: int
    with_lesion: int
    lesions: int
    sensitivity: Estimate
    false_per_study: Estimate
    dice: Estimate
    surface_dice: Estimate
    study_sensitivity: Estimate
    study_specificity: Estimate


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
        studies=len(records),
        with_lesion=len(ill),
        lesions=sum(len(one.lesions) for one in ill),
        sensitivity=_sensitivity(records, detect),
        false_per_study=bootstrap([_false(one, detect) for one in records], np.mean),
        dice=bootstrap([one.dice for one in records if one.dice is not None], np.median),
        surface_dice=bootstrap([one.surface_dice for one in records if one.surface_dice is not None], np.median),
        study_sensitivity=share(sum(one.score >= detect for one in ill), len(ill), 1),
        study_specificity=share(sum(one.score < detect for one in well), len(well), 1),
    )


def bootstrap(values: Sequence[float], statistic: Callable[[np.ndarray], float]) -> Estimate:
    """A statistic of one value per study with its percentile interval (Efron and Tibshirani 1993), fixed seed."""
    if not values:
        return HIDDEN
    data = np.asarray(values, dtype=float)
    draw = np.random.default_rng(SEED)
    again = [statistic(data[draw.integers(0, len(data), len(data))]) for _ in range(DRAWS)] if len(data) > 1 else []
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if again else (None, None)
    return Estimate(
        value=float(statistic(data)),
        lower=None if low is None else float(low),
        upper=None if high is None else float(high),
        n=len(data),
    )


def _sensitivity(records: Records, threshold: float, wanted: Callable[[TrueLesion], bool] = lambda _: True) -> Estimate:
    """Of lesions; those of one study are alike, and the interval allows for it where there are two studies."""
    groups = [[lesion for lesion in one.lesions if wanted(lesion)] for one in records]
    found = np.array([sum(lesion.score >= threshold for lesion in group) for group in groups], dtype=np.int64)
    sizes = np.array([len(group) for group in groups], dtype=np.int64)
    if int((sizes > 0).sum()) < 2:
        return share(int(found.sum()), int(sizes.sum()), 1)
    return clustered_share(found, sizes, 1)


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

    values = [lesion.dice for one in records for lesion in one.lesions if wanted(lesion)]
    return _sensitivity(records, detect, wanted), bootstrap(values, np.median)


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
        false_per_study=bootstrap([_false(one, threshold) for one in records], np.mean),
    )


def _agreement(records: Records) -> Agreement:
    gaps = [one.found_ml - one.reference_ml for one in records]

    def limit(sign: float) -> Callable[[np.ndarray], float]:
        return lambda values: float(values.mean() + sign * 1.96 * values.std(ddof=1 if len(values) > 1 else 0))

    return Agreement(
        bias_ml=bootstrap(gaps, np.mean), lower_ml=bootstrap(gaps, limit(-1)), upper_ml=bootstrap(gaps, limit(1))
    )
