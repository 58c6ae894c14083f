"""What answers and what a shadow says of the same studies, compared in pairs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from services.observatory.estimate import Estimate, clustered_share, mean, quantile, share
from services.triage.finding import Flag, Outcome
from services.triage.inference import Inference, InferenceMode


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """What one version says of a study. looked_s: seconds from the voxels to the finding. inference: None: not told."""

    version: str
    outcome: Outcome
    flag: Flag
    score: float | None
    looked_s: float | None
    energy_j: float | None
    inference: Inference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An answer that was frozen, and what a shadow says of the same images.

    dice, lesions_both, lesions_answer_only, lesions_shadow_only: `triage.shadow.Overlap`. lesions_shadow: all of its.
    """

    result_id: str
    study_instance_uid: str
    model: str
    frozen_at: datetime
    answer: Side
    shadow: Side
    dice: float | None
    lesions_both: int | None
    lesions_answer_only: int | None
    lesions_shadow_only: int | None
    lesions_shadow: int | None

    @property
    def looked(self) -> bool:
        """Whether both versions looked."""
        return self.answer.outcome.analysed and self.shadow.outcome.analysed


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A median with its 95% interval, and the quartiles. None: fewer than the minimum."""

    median: Estimate
    lower_quartile: float | None
    upper_quartile: float | None


Modes = tuple[InferenceMode | None, InferenceMode | None]
"""How the networks of answer and shadow ran; None: not told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Of all pairs of one answering version and one shadow, one per study.

    outcomes: (answer, shadow) -> studies, all of them. The rest is of studies that both looked at: outcome, flag: how
    many agree. dice: where either has a lesion. lesions: of those of either version, touched by one of the other's.
    score_shift: shadow minus answer. time, energy: shadow over answer. inference: (answer, shadow) -> studies, by how
    the networks ran, the most frequent first; where the two differ, figures differ for that, too.
    """

    model: str
    answer: str
    shadow: str
    outcomes: dict[tuple[Outcome, Outcome], int]
    outcome: Estimate
    flag: Estimate
    lesions: Estimate
    dice: Spread
    score_shift: Estimate
    score_spread: Spread
    time: Spread
    energy: Spread
    inference: dict[Modes, int]


Pairing = tuple[str, str, str]
"""Model, answering version, shadow."""


def pairings(pairs: Sequence[Pair]) -> dict[Pairing, list[Pair]]:
    """The pairs by model and versions, the most frequent first."""
    found: dict[Pairing, list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair.model, pair.answer.version, pair.shadow.version), []).append(pair)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def compare(pairing: Pairing, pairs: Sequence[Pair], *, minimum: int) -> Comparison:
    """The figures of one pairing; none that was counted from fewer than `minimum` studies."""
    model, answer, shadow = pairing
    outcomes: dict[tuple[Outcome, Outcome], int] = {}
    for pair in pairs:
        cell = pair.answer.outcome, pair.shadow.outcome
        outcomes[cell] = outcomes.get(cell, 0) + 1
    both = [pair for pair in pairs if pair.looked]
    shifts = _values(both, lambda one: _minus(one.shadow.score, one.answer.score))
    return Comparison(
        model=model,
        answer=answer,
        shadow=shadow,
        outcomes=outcomes,
        outcome=share(sum(one.answer.outcome is one.shadow.outcome for one in both), len(both), minimum),
        flag=share(sum(one.answer.flag is one.shadow.flag for one in both), len(both), minimum),
        lesions=_lesions(both, minimum),
        dice=_spread(_values(both, lambda one: one.dice), minimum),
        score_shift=mean(shifts, minimum),
        score_spread=_spread(shifts, minimum),
        time=_spread(_values(both, lambda one: _over(one.shadow.looked_s, one.answer.looked_s)), minimum),
        energy=_spread(_values(both, lambda one: _over(one.shadow.energy_j, one.answer.energy_j)), minimum),
        inference=_inference(both),
    )


def _inference(pairs: Sequence[Pair]) -> dict[Modes, int]:
    counts = Counter((_mode(one.answer), _mode(one.shadow)) for one in pairs)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))


def _mode(side: Side) -> InferenceMode | None:
    return side.inference.mode if side.inference else None


def _lesions(pairs: Sequence[Pair], minimum: int) -> Estimate:
    alone = [(one.lesions_answer_only or 0) + (one.lesions_shadow_only or 0) for one in pairs]
    # one lesion may touch several of the other version: each side counts its own
    of_either = [(one.lesions_both or 0) + (one.lesions_answer_only or 0) + (one.lesions_shadow or 0) for one in pairs]
    sizes = np.array(of_either, dtype=np.int64)
    return clustered_share(sizes - np.array(alone, dtype=np.int64), sizes, minimum)


def _values(pairs: Sequence[Pair], of: Callable[[Pair], float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([value for pair in pairs if (value := of(pair)) is not None], dtype=np.float64)


def _spread(values: np.ndarray[tuple[int], np.dtype[np.float64]], minimum: int) -> Spread:
    median = quantile(values, 0.5, minimum)
    if median.value is None:
        return Spread(median=median, lower_quartile=None, upper_quartile=None)
    low, high = np.quantile(values, [0.25, 0.75], method="inverted_cdf")
    return Spread(median=median, lower_quartile=float(low), upper_quartile=float(high))


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other
