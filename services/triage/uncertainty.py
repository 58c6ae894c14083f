"""How a score varies when the network sees its images mirrored: what is told beside a score, and never changes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.triage.errors import Reason


class UncertaintyMode(StrEnum):
    """off: the network runs once. flips: once more for each axis along which its images can be mirrored."""

    OFF = "off"
    FLIPS = "flips"


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A lesion's score over the runs: the ordinary one, which says what the lesion is, and the mirrored ones there.

    runs: how many, the ordinary one included. sd: their standard deviation (of these runs, not of a sample: divided by
    their number). All on the scale of the score, 0..1, and calibrated where it is. No interval of confidence.
    """

    runs: int
    sd: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> "Spread":
        """Of the scores of all runs, at least one."""
        return cls(runs=len(scores), sd=float(np.std(scores)), lowest=min(scores), highest=max(scores))


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """What became of the mirrored runs. spread: of the study's score, its best candidate's; or why there is none."""

    spread: Spread | None = None
    reason: Reason | None = None


NO_CANDIDATE = Reason(code="no_candidate", text="there is no candidate whose score could vary")
NOT_ON_GRID = Reason(code="not_on_grid", text="the network does not answer on the grid of its input")
OUT_OF_MEMORY = Reason(code="out_of_memory", text="memory ran out in a mirrored run")
TIME_LIMIT = Reason(code="time_limit", text="the mirrored runs take more than half of the time limit")
NOT_SERVED = Reason(code="not_served", text="Triton serves the model with a Vigie that makes no mirrored runs")
RUN_FAILED = "run_failed"
"""Why there is no spread; of the last the code alone, for its text names the error."""
