"""Whether a score of 0.8 is right in 8 of 10 studies that readers answered."""

from dataclasses import dataclass

import numpy as np

from services.observatory.estimate import HIDDEN, LEVEL, SEED, Estimate, mean, share
from services.observatory.history import Floats, History
from services.triage.verdict import Truth

MOST_BINS = 10
_RESAMPLES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Studies of neighbouring scores: their mean score, and the share of them with a lesion."""

    score: float
    observed: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """bins: the reliability diagram. brier: mean squared error (Brier 1950). error: expected calibration error.

    error is over bins of equal counts (Nguyen and O'Connor 2015) and, of few studies, above 0 even of a perfect score:
    chance is what that one would get.
    """

    bins: tuple[Bin, ...] = ()
    error: Estimate = HIDDEN
    chance: float | None = None
    brier: Estimate = HIDDEN


def calibration(history: History, minimum: int) -> Calibration:
    """Of the analysed studies that readers answered."""
    present = history.truth_is(Truth.PRESENT)
    known = (present | history.truth_is(Truth.ABSENT)) & ~np.isnan(history.score)
    scores, truths = history.score[known], present[known].astype(np.float64)
    if len(scores) < max(2, minimum):
        return Calibration()
    order = np.argsort(scores, kind="stable")
    scores, truths = scores[order], truths[order]
    parts = np.array_split(np.arange(len(scores)), max(1, min(MOST_BINS, len(scores) // max(1, minimum))))
    return Calibration(
        bins=tuple(
            Bin(score=float(scores[part].mean()), observed=share(int(truths[part].sum()), len(part), 1))
            for part in parts
        ),
        error=_error(scores, truths, len(parts)),
        chance=_chance(scores, len(parts)),
        brier=mean((scores - truths) ** 2, minimum),
    )


def _gap(gaps: Floats, bins: int) -> float:
    """Mean over bins of the distance between score and truth; gaps: their differences, sorted by score."""
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(gaps))


def _error(scores: Floats, truths: Floats, bins: int) -> Estimate:
    """With the basic bootstrap's interval (Davison and Hinkley 1997, 5.2), which takes the bias back."""
    gaps = scores - truths
    value = _gap(gaps, bins)
    draw = np.random.default_rng(SEED)
    again = [_gap(gaps[np.sort(draw.integers(0, len(gaps), len(gaps)))], bins) for _ in range(_RESAMPLES)]
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=value, lower=max(0.0, 2 * value - float(high)), upper=max(0.0, 2 * value - float(low)), n=len(scores)
    )


def _chance(scores: Floats, bins: int) -> float:
    """What the error of a perfectly calibrated score would be, on average, in so many studies."""
    sizes = [scores[part] for part in np.array_split(np.arange(len(scores)), bins)]
    deviations = [float(np.sqrt((part * (1 - part)).sum())) for part in sizes]
    return float(sum(deviations) * np.sqrt(2 / np.pi) / len(scores))
