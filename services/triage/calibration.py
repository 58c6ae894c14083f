"""From a model's score to how often it is right: a map that rises strictly, so that no lesion changes place."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

LEAST_STUDIES = 200
"""Reference studies of patients, each with a candidate, from which on a calibrated score is called so (decision 5)."""

HALF_STEP = 0.5 / 255
"""A voxel's probability is told in 255 steps: a score of 1 says no more than 'at least 1 less half a step'."""
TILT = 1e-6
"""Part of the raw score in what a temperature makes of it: where a logistic curve is flat to a computer, it rises."""


class Method(StrEnum):
    """How a calibration is fitted."""

    ISOTONIC = "isotonic"
    TEMPERATURE = "temperature"
    AUTO = "auto"
    """by that of both which is nearer to the truth on studies that it was not fitted on"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Isotonic:
    """Piecewise linear through knots (score, probability); scores from 0 to 1, both rising strictly.

    studies: how many it was fitted on: those that have a candidate.
    """

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]
    studies: int

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.probabilities) or len(self.scores) < 2:
            raise ValueError(
                f"{len(self.scores)} scores and {len(self.probabilities)} probabilities: want as many, 2 or more"
            )
        if self.scores[0] != 0 or self.scores[-1] != 1 or not 0 <= self.probabilities[0] <= self.probabilities[-1] <= 1:
            raise ValueError("scores must go from 0 to 1, and probabilities lie between")
        for values in (self.scores, self.probabilities):
            if not all(low < high for low, high in pairwise(values)):
                raise ValueError("scores and probabilities must rise strictly")

    def __call__(self, score: float) -> float:
        """A calibrated score, 0..1."""
        at = min(bisect_right(self.scores, score), len(self.scores) - 1)
        (x, right), (y, top) = self.scores[at - 1 : at + 1], self.probabilities[at - 1 : at + 1]
        return y + (top - y) * (score - x) / (right - x)


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """The score's logit, divided by one number (Guo et al. 2017): above 1 the model was too sure, below 1 not enough.

    studies: how many it was fitted on: those that have a candidate.
    """

    temperature: float
    studies: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}: it must be finite and above 0")

    def __call__(self, score: float) -> float:
        """A calibrated score, 0..1; with temperature 1 the score itself."""
        # what `logit` keeps off 0 and 1 is given back, as far as the map leaves room for it
        margin = logistic(min(logit(0) / self.temperature, logit(0)))
        scaled = (logistic(logit(score) / self.temperature) - margin) / (1 - 2 * margin)
        return min(max((1 - TILT) * scaled + TILT * score, 0.0), 1.0)


Calibration = Isotonic | Temperature
"""Every score and every threshold of a model goes through the same one."""


def logit(score: float) -> float:
    """Of a score 0..1, which is held half a step off both ends: finite everywhere, and odd about 0.5."""
    return math.log((score + HALF_STEP) / (1 - score + HALF_STEP))


def logistic(value: float) -> float:
    """The logistic function; by the hyperbolic tangent it never overflows."""
    return 0.5 * (1 + math.tanh(value / 2))
