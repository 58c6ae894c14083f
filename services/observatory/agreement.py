"""Agreement of the AI with its readers, per study and per lesion."""

from enum import StrEnum

import numpy as np

from services.observatory.estimate import DRAWS, HIDDEN, LEVEL, SEED, Estimate, clustered_share, share
from services.observatory.history import Bools, Floats, History
from services.triage.verdict import Truth


class Measure(StrEnum):
    """What is told of a group of studies; docs/observatory.md says what each means and does not mean.

    Those without more were counted in the studies that readers answered, which readers choose. corrected: for that
    choice, by Begg and Greenes. blind: against what readers said before they saw the AI's result.
    """

    ANALYSED = "analysed"
    FOUND = "found"
    FLAGGED = "flagged"
    ANSWERED = "answered"
    ANSWERED_FOUND = "answered_found"
    ANSWERED_NOT_FOUND = "answered_not_found"
    PPV = "ppv"
    NPV = "npv"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    SENSITIVITY_CORRECTED = "sensitivity_corrected"
    SPECIFICITY_CORRECTED = "specificity_corrected"
    SENSITIVITY_BLIND = "sensitivity_blind"
    SPECIFICITY_BLIND = "specificity_blind"
    CHANGED = "changed"
    LESION_PPV = "lesion_ppv"


def measures(history: History, minimum: int) -> dict[Measure, Estimate]:
    """All of them; those counted from fewer than the minimum are hidden."""
    found = {
        measure: share(int((events & among).sum()), int(among.sum()), minimum)
        for measure, (events, among) in shares(history).items()
    }
    sensitivity, specificity = corrected(history, minimum)
    found[Measure.SENSITIVITY_CORRECTED] = sensitivity
    found[Measure.SPECIFICITY_CORRECTED] = specificity
    found[Measure.LESION_PPV] = _lesion_ppv(history, minimum)
    return {measure: found[measure] for measure in Measure}


def shares(history: History) -> dict[Measure, tuple[Bools, Bools]]:
    """Of each measure that is a share of studies: which count, and among which."""
    looked, positive = history.looked, history.positive
    present, absent = history.truth_is(Truth.PRESENT), history.truth_is(Truth.ABSENT)
    own_present, own_absent = history.own_is(Truth.PRESENT), history.own_is(Truth.ABSENT)
    known = present | absent
    return {
        Measure.ANALYSED: (looked, np.ones(len(history), dtype=np.bool_)),
        Measure.FOUND: (positive, looked),
        Measure.FLAGGED: (history.flagged, looked),
        Measure.ANSWERED: (known, looked),
        Measure.ANSWERED_FOUND: (known, positive),
        Measure.ANSWERED_NOT_FOUND: (known, looked & ~positive),
        Measure.PPV: (present, positive & known),
        Measure.NPV: (absent, ~positive & known),
        Measure.SENSITIVITY: (positive, present),
        Measure.SPECIFICITY: (~positive, absent),
        Measure.SENSITIVITY_BLIND: (positive, own_present),
        Measure.SPECIFICITY_BLIND: (~positive, own_absent),
        Measure.CHANGED: (history.changed, history.answered_twice & looked),
    }


def corrected(history: History, minimum: int) -> tuple[Estimate, Estimate]:
    """Sensitivity and specificity in all analysed studies (Begg and Greenes 1983).

    Right if, among studies of one AI outcome, whether a reader answered does not depend on the truth. The interval: of
    draws from Jeffreys' distributions of what was counted, which stays open where nothing was missed.
    """
    positive = history.positive
    present, absent = history.truth_is(Truth.PRESENT), history.truth_is(Truth.ABSENT)
    counts = [
        int((present & positive).sum()),
        int((absent & positive).sum()),
        int((present & ~positive).sum()),
        int((absent & ~positive).sum()),
    ]
    looked, found = int(history.looked.sum()), int(positive.sum())
    if counts[0] + counts[1] < max(1, minimum) or counts[2] + counts[3] < max(1, minimum):
        return HIDDEN, HIDDEN
    ppv, omission = counts[0] / (counts[0] + counts[1]), counts[2] / (counts[2] + counts[3])
    draw = np.random.default_rng(SEED)
    drawn = _rates(
        draw.beta(found + 0.5, looked - found + 0.5, DRAWS),
        draw.beta(counts[0] + 0.5, counts[1] + 0.5, DRAWS),
        draw.beta(counts[2] + 0.5, counts[3] + 0.5, DRAWS),
    )
    values = _rates(np.array(found / looked), np.array(ppv), np.array(omission))
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return tuple(  # type: ignore[return-value]  # a pair
        HIDDEN
        if np.isnan(value)
        else Estimate(
            value=float(value),
            lower=min(float(value), float(np.quantile(draws, ends[0]))),
            upper=max(float(value), float(np.quantile(draws, ends[1]))),
            n=sum(counts),
        )
        for value, draws in zip(values, drawn, strict=True)
    )


def _rates(found: Floats, ppv: Floats, omission: Floats) -> tuple[Floats, Floats]:
    """Sensitivity and specificity from the share found, the PPV, and the false omission rate; NaN: none at all."""
    hit, missed = ppv * found, omission * (1 - found)
    false, right = (1 - ppv) * found, (1 - omission) * (1 - found)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hit / (hit + missed), right / (right + false)


def _lesion_ppv(history: History, minimum: int) -> Estimate:
    judged, size = history.lesion_correct >= 0, len(history)
    right = np.bincount(history.lesion_of[history.lesion_correct == 1], minlength=size)
    return clustered_share(right, np.bincount(history.lesion_of[judged], minlength=size), minimum)
