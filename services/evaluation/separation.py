"""Whether the spread over mirrored runs means anything: how well it tells lesions from false candidates."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # its `stats` takes a second to load: it does so when it is first asked for something

from services.evaluation.compare import Candidate, StudyRecord
from services.observatory.estimate import HIDDEN, LEVEL, SEED, Estimate

DRAWS = 1000

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Apart:
    """Candidates with a spread: `true` hit a lesion, `false` hit none. sd, score: areas under the ROC curve.

    sd: how often a false candidate has the greater standard deviation over the runs; score: how often it has the lower
    score, beside which alone a spread is worth its runs. 0.5: mere chance.
    """

    true: int
    false: int
    sd: Estimate
    score: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Separation:
    """found: of the candidates that reach `detect`; candidates: of all. series: that have a spread.

    without: series without one, by the code of the reason.
    """

    series: int
    without: dict[str, int]
    found: Apart
    candidates: Apart


def separation(records: Sequence[StudyRecord], *, detect: float) -> Separation | None:
    """Of all records; None where mirrored runs were not asked for."""
    asked = [one.uncertainty for one in records if one.uncertainty is not None]
    if not asked:
        return None
    reasons = Counter(one.reason.code for one in asked if one.reason is not None)
    return Separation(
        series=sum(one.spread is not None for one in asked),
        without=dict(sorted(reasons.items())),
        found=_apart(records, detect),
        candidates=_apart(records, 0.0),
    )


def with_spread(records: Sequence[StudyRecord]) -> list[tuple[str, Candidate, float]]:
    """Each candidate that has a spread: Study Instance UID, itself, standard deviation over the runs."""
    told = ((record.study_instance_uid, one) for record in records for one in record.candidates)
    return [(uid, one, one.spread.sd) for uid, one in told if one.spread is not None]


def _apart(records: Sequence[StudyRecord], threshold: float) -> Apart:
    told = [one for one in with_spread(records) if one[1].score >= threshold]
    false = np.array([not one.hit for _, one, _ in told], dtype=bool)
    studies = np.unique([uid for uid, _, _ in told], return_inverse=True)[1].astype(np.int64)
    return Apart(
        true=int((~false).sum()),
        false=int(false.sum()),
        sd=_area(np.array([sd for _, _, sd in told]), false, studies),
        score=_area(np.array([-one.score for _, one, _ in told]), false, studies),
    )


def _area(values: Floats, positive: npt.NDArray[np.bool_], study: Numbers) -> Estimate:
    """Area under the ROC curve; its percentile interval by a bootstrap that draws studies, fixed seed.

    study: of each value, numbered from 0. No area where all are of one kind; no interval where one study has all of a
    kind, for how another would have them nobody can say.
    """
    if not 0 < positive.sum() < len(positive):
        return HIDDEN
    area = _auroc(values, positive)
    if min(len(np.unique(study[kind])) for kind in (positive, ~positive)) < 2:
        return Estimate(value=area, n=len(values))
    draw, count = np.random.default_rng(SEED), int(study.max()) + 1
    mine = [np.flatnonzero(study == number) for number in range(count)]
    draws = (np.concatenate([mine[number] for number in draw.integers(0, count, count)]) for _ in range(DRAWS))
    again = [_auroc(values[drawn], positive[drawn]) for drawn in draws if 0 < positive[drawn].sum() < len(drawn)]
    low, high = np.quantile(again, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=area, lower=float(low), upper=float(high), n=len(values))


def _auroc(values: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """By Mann and Whitney's U: the share of pairs in which the positive has the greater value, ties by half."""
    count = int(positive.sum())
    ranks = scipy.stats.rankdata(values)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))
