"""Whether inputs and outputs of a window are distributed as those of the reference before it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import scipy  # its `stats` takes a second to load: it does so when it is first asked for something

from services.observatory.history import Attribute, Floats, History, Ints
from services.observatory.holm import holm

LEAST_STUDIES = 100
"""Of each of the two that are compared."""

SIZABLE = 0.1
"""PSI, or the distance of Kolmogorov and Smirnov, below which a difference is not worth an alarm (Siddiqi 2006)."""

_BINS = 10
_LEAST_EXPECTED = 5.0


class Feature(StrEnum):
    """What is compared: of the inputs, then of the outputs."""

    AGE = "age"
    SEX = "sex"
    SITE = "site"
    DEVICE = "device"
    KERNEL = "kernel"
    THICKNESS = "thickness"
    SCORE = "score"
    LESIONS = "lesions"
    OUTCOME = "outcome"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One feature. psi: Population Stability Index. distance: of Kolmogorov and Smirnov; None: it has no order.

    p: of the two-sample KS test, or of chi-square for what has no order; p_adjusted: by Holm over all features.
    alarm: neither by chance nor small.
    """

    feature: Feature
    n: int
    reference_n: int
    psi: float
    distance: float | None
    p: float
    p_adjusted: float = 1.0
    alarm: bool = False


_NUMBERS: dict[Feature, Callable[[History], Floats]] = {
    Feature.AGE: lambda history: history.age_years,
    Feature.THICKNESS: lambda history: history.thickness_mm,
    Feature.SCORE: lambda history: history.score,
    Feature.LESIONS: lambda history: history.lesion_counts().astype(np.float64),
}
_WORDS: dict[Feature, Callable[[History], npt.NDArray[np.str_]]] = {
    Feature.SEX: lambda history: _labels(history, Attribute.SEX),
    Feature.SITE: lambda history: _labels(history, Attribute.SITE),
    Feature.DEVICE: lambda history: _labels(history, Attribute.DEVICE),
    Feature.KERNEL: lambda history: _labels(history, Attribute.KERNEL),
    Feature.OUTCOME: lambda history: history.outcome,
}


def _labels(history: History, attribute: Attribute) -> npt.NDArray[np.str_]:
    return np.array(history.labels[attribute] or ("",))[history.codes[attribute]]


def drifts(history: History, reference: History, alpha: float) -> tuple[Drift, ...]:
    """Of every feature that both have enough of; alpha: of any false alarm among them.

    Of studies that the model looked at, but for the outcome.
    """
    found: list[Drift] = []
    for feature in Feature:
        pair = [one if feature is Feature.OUTCOME else one.where(one.looked) for one in (history, reference)]
        if feature in _NUMBERS:
            numbers = [_told(_NUMBERS[feature](one)) for one in pair]
            found += [_of_numbers(feature, *numbers)] if min(map(len, numbers)) >= LEAST_STUDIES else []
        elif min(map(len, pair)) >= LEAST_STUDIES:
            found.append(_of_words(feature, *(_WORDS[feature](one) for one in pair)))
    adjusted = holm([one.p for one in found])
    return tuple(
        replace(one, p_adjusted=p, alarm=p <= alpha and max(one.psi, one.distance or 0.0) >= SIZABLE)
        for one, p in zip(found, adjusted, strict=True)
    )


def _told(numbers: Floats) -> Floats:
    return numbers[~np.isnan(numbers)]


def _of_numbers(feature: Feature, now: Floats, before: Floats) -> Drift:
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    test = scipy.stats.ks_2samp(now, before, method="asymp")
    counts = [
        np.bincount(np.searchsorted(edges, each, side="left"), minlength=len(edges) + 1) for each in (now, before)
    ]
    return Drift(
        feature=feature,
        n=len(now),
        reference_n=len(before),
        psi=psi(*counts),
        distance=float(test.statistic),
        p=float(test.pvalue),
    )


def _of_words(feature: Feature, now: npt.NDArray[np.str_], before: npt.NDArray[np.str_]) -> Drift:
    words, place = np.unique(np.concatenate([now, before]), return_inverse=True)
    counts = np.array(
        [np.bincount(place[: len(now)], minlength=len(words)), np.bincount(place[len(now) :], minlength=len(words))]
    )
    counts = _pooled(counts)
    p = float(scipy.stats.chi2_contingency(counts, correction=False).pvalue) if counts.shape[1] > 1 else 1.0
    return Drift(
        feature=feature, n=len(now), reference_n=len(before), psi=psi(counts[0], counts[1]), distance=None, p=p
    )


def _pooled(counts: Ints) -> Ints:
    """What is too rare for chi-square counts as one word."""
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    rare = expected < _LEAST_EXPECTED
    if rare.sum() < 2:
        return counts
    return np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])


def psi(now: Ints, before: Ints) -> float:
    """Sum of (a - b) ln(a / b) over the bins' shares a and b, half a study added to each bin (Siddiqi 2006)."""
    a, b = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (now, before))
    return float(((a - b) * np.log(a / b)).sum())
