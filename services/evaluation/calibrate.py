"""A calibration of candidates' scores: isotonic or by temperature, and judged on studies that it was not fitted on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, isotonic_regression
from scipy.special import expit

from services.evaluation.compare import StudyRecord
from services.evaluation.summary import share_by_study
from services.observatory.estimate import LEVEL, SEED, Estimate
from services.triage.calibration import Calibration, Isotonic, Method, Temperature, logit

FOLDS = 10
BINS = 10
DRAWS = 300
LEAST_CANDIDATES = 20
TILT = 1e-6
"""Of a flat stretch, as a part of the distance that keeps probabilities off 0 and 1: no two scores become one."""
SAME = 1e-9
COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are tried: scores that tell all, or nothing, have no best one."""

Floats = npt.NDArray[np.float64]
Fit = Callable[[Floats, Floats, int], Calibration]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """Candidates of neighbouring scores: the mean of what is said of them, and the share that are lesions."""

    said: float
    observed: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """bins: of equal counts. error: expected calibration error over them. brier: mean squared error (Brier 1950)."""

    bins: tuple[Bin, ...]
    error: Estimate
    brier: Estimate


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """All candidates: score, whether it hits a lesion, and the number of its study, from 0.

    studies: that have a candidate. without: that were judged and have none; they say nothing of a score.
    """

    scores: Floats
    hits: Floats
    study: npt.NDArray[np.int64]
    studies: int
    without: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """before: of the raw scores. after: out of fold, by calibrations of the other studies. calibration: of all.

    brier: out of fold, of each method that was tried; `method` has the lowest. without: studies without a candidate.
    """

    method: Method
    calibration: Calibration
    brier: Mapping[Method, float]
    before: Reliability
    after: Reliability
    candidates: int
    without: int


def candidates_of(records: Sequence[StudyRecord]) -> Candidates:
    """Of the records, each study that has any with a number of its own."""
    having = dict.fromkeys(one.study_instance_uid for one in records if one.candidates)
    numbers = {uid: number for number, uid in enumerate(having)}
    told = [(one.score, one.hit, numbers[record.study_instance_uid]) for record in records for one in record.candidates]
    columns = np.array(told, dtype=np.float64).reshape(-1, 3)
    return Candidates(
        scores=columns[:, 0],
        hits=columns[:, 1],
        study=columns[:, 2].astype(np.int64),
        studies=len(numbers),
        without=len({one.study_instance_uid for one in records} - having.keys()),
    )


def calibrate(told: Candidates, method: Method = Method.AUTO) -> Fitted:
    """By that method, or by the better one.

    Raises ValueError: too few candidates, all of one kind, or no temperature fits.
    """
    if len(told.scores) < LEAST_CANDIDATES or not 0 < told.hits.mean() < 1:
        raise ValueError(
            f"{len(told.scores)} candidates, {int(told.hits.sum())} of them lesions: too few to calibrate on"
        )
    fits: Mapping[Method, Fit] = FITS if method is Method.AUTO else {method: FITS[method]}
    said = {each: _out_of_fold(told, fit) for each, fit in fits.items()}
    brier = {each: _brier(one, told.hits) for each, one in said.items()}
    best = min(brier, key=lambda each: brier[each])
    calibration = fits[best](told.scores, told.hits, told.studies)
    if isinstance(calibration, Temperature) and calibration.temperature >= HOTTEST:
        raise ValueError(
            "candidates of a high score are no lesions more often than not: no temperature says so of them"
        )
    return Fitted(
        method=best,
        calibration=calibration,
        brier=brier,
        before=reliability(told.scores, told),
        after=reliability(said[best], told),
        candidates=len(told.scores),
        without=told.without,
    )


def fit_temperature(scores: Floats, hits: Floats, studies: int) -> Temperature:
    """Temperature scaling (Guo et al. 2017) by maximum likelihood, which is convex in the temperature's inverse."""
    logits = np.array([logit(float(score)) for score in scores])

    def slope(inverse: float) -> float:
        """Of the negative log-likelihood; it never falls."""
        return float((logits * (expit(inverse * logits) - hits)).sum())

    if slope(1 / HOTTEST) >= 0:
        temperature = HOTTEST
    elif slope(1 / COLDEST) <= 0:
        temperature = COLDEST
    else:
        temperature = 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST))
    return Temperature(temperature=temperature, studies=studies)


def fit_isotonic(scores: Floats, hits: Floats, studies: int) -> Isotonic:
    """Isotonic regression (Zadrozny and Elkan 2002), its steps tilted so that the map rises strictly."""
    values, place = np.unique(scores, return_inverse=True)
    counts = np.bincount(place)
    regression = isotonic_regression(np.bincount(place, weights=hits) / counts, weights=counts)
    margin = 0.5 / (len(scores) + 1)  # what never failed in n candidates may in the next
    tilt = TILT * margin
    # where it rises; scipy leaves neighbours of one level apart
    starts = np.flatnonzero(np.diff(regression.x, prepend=-1.0) > SAME)
    knots: list[tuple[float, float]] = []
    for first, last in zip(starts, [*(starts[1:] - 1), len(values) - 1], strict=True):
        level = margin + (1 - 2 * margin) * float(regression.x[first])
        knots += [(float(values[first]), level - tilt)] + (
            [(float(values[last]), level + tilt)] if last > first else []
        )
    inner = [(score, level) for score, level in knots if 0 < score < 1]
    knots = [(0.0, knots[0][1] - tilt), *inner, (1.0, knots[-1][1] + tilt)]
    return Isotonic(
        scores=tuple(score for score, _ in knots), probabilities=tuple(level for _, level in knots), studies=studies
    )


# of two that are as good, the first: it has one parameter
FITS: Mapping[Method, Fit] = {Method.TEMPERATURE: fit_temperature, Method.ISOTONIC: fit_isotonic}


def _out_of_fold(told: Candidates, fit: Fit) -> Floats:
    """Each candidate by a calibration that saw no candidate of its study."""
    fold_of = np.random.default_rng(SEED).permutation(told.studies) % min(FOLDS, told.studies)
    fold = fold_of[told.study]
    said = np.empty_like(told.scores)
    for number in np.unique(fold):
        rest = fold != number
        if not rest.any():
            raise ValueError("one study has all candidates: too few to calibrate on")
        mapped = fit(told.scores[rest], told.hits[rest], told.studies)
        said[~rest] = [mapped(float(score)) for score in told.scores[~rest]]
    return said


def reliability(said: Floats, told: Candidates) -> Reliability:
    """How far what is said lies from what is; intervals of errors by a bootstrap that draws studies, fixed seed."""
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return Reliability(
        bins=tuple(Bin(said=float(said[part].mean()), observed=_observed(told, part)) for part in parts),
        error=_drawn(said, told, _error),
        brier=_drawn(said, told, _brier),
    )


def _observed(told: Candidates, part: npt.NDArray[np.int64]) -> Estimate:
    """The share that are lesions; no interval where one study has all of them."""
    estimate = share_by_study([bool(hit) for hit in told.hits[part]], [str(one) for one in told.study[part]])
    return estimate if len(np.unique(told.study[part])) > 1 else replace(estimate, lower=None, upper=None)


def _brier(said: Floats, hits: Floats) -> float:
    return float(((said - hits) ** 2).mean())


def _error(said: Floats, hits: Floats) -> float:
    """Over bins of equal counts (Nguyen and O'Connor 2015)."""
    gaps = (said - hits)[np.argsort(said, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, BINS)) / len(gaps))


def _drawn(said: Floats, told: Candidates, statistic: Callable[[Floats, Floats], float]) -> Estimate:
    draw = np.random.default_rng(SEED)
    mine = [np.flatnonzero(told.study == number) for number in range(told.studies)]
    again = []
    for _ in range(DRAWS):
        chosen = np.concatenate([mine[number] for number in draw.integers(0, told.studies, told.studies)])
        if len(chosen):
            again.append(statistic(said[chosen], told.hits[chosen]))
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=statistic(said, told.hits), lower=float(low), upper=float(high), n=len(said))
