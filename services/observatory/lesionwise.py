"""Free-response operating points: how many lesions are found at the price of how many false ones per study."""

from dataclasses import dataclass

import numpy as np

from services.observatory.estimate import Estimate, clustered_share, mean
from services.observatory.history import Bools, History
from services.triage.verdict import Truth

MOST_POINTS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class FrocPoint:
    """At one threshold of the lesions' score: the share found of all that readers hold for lesions."""

    threshold: float
    sensitivity: Estimate
    false_per_study: Estimate


def froc(history: History, minimum: int) -> tuple[FrocPoint, ...]:
    """Points by falling threshold (Chakraborty 1989), from studies in which every lesion was judged or marked.

    A lesion that a reader added was found at no threshold. What the AI dropped below its detection threshold was never
    shown, so the curve ends there.
    """
    known = history.truth_is(Truth.PRESENT) | history.truth_is(Truth.ABSENT)
    told = history.where(known & ~_unjudged(history) & ~unmarked(history))
    right = told.lesion_correct == 1
    lesions = np.bincount(told.lesion_of[right], minlength=len(told)) + told.missed
    scores = np.unique(told.lesion_score)
    if len(scores) > MOST_POINTS:
        scores = np.unique(np.quantile(scores, np.linspace(0, 1, MOST_POINTS), method="inverted_cdf"))
    points = []
    for threshold in scores[::-1]:
        over = told.lesion_score >= threshold
        hits = np.bincount(told.lesion_of[over & right], minlength=len(told))
        false = np.bincount(told.lesion_of[over & ~right], minlength=len(told))
        point = FrocPoint(
            threshold=float(threshold),
            sensitivity=clustered_share(hits, lesions, minimum),
            false_per_study=mean(false.astype(np.float64), minimum),
        )
        if point.sensitivity.n is not None and point.false_per_study.n is not None:
            points.append(point)
    return tuple(points)


def unmarked(history: History) -> Bools:
    """Whether readers say that a lesion was missed, and mark none: how many the study has is open."""
    right = np.bincount(history.lesion_of[history.lesion_correct == 1], minlength=len(history))
    nowhere: Bools = (right + history.missed == 0) & ~_unjudged(history)
    return history.truth_is(Truth.PRESENT) & (history.unmarked | nowhere)


def _unjudged(history: History) -> Bools:
    return np.bincount(history.lesion_of[history.lesion_correct < 0], minlength=len(history)) > 0
