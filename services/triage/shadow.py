"""A shadow run: another version looks at what the model has answered; it is compared and kept, and goes nowhere."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from services.triage.finding import Finding
from services.triage.inference import Inference
from services.triage.job import Job
from services.triage.model import ModelIdentity
from services.triage.result import Energy, FrozenResult

Labels = npt.NDArray[np.unsignedinteger]

MAX_ATTEMPTS = 3
RETRY_AFTER = timedelta(minutes=1)
"""After a failure that may pass; nobody waits for a shadow."""


class ShadowState(StrEnum):
    """The one axis of a shadow run: what the version says of the study, "not analysed" too, is kept.

    failed: it says nothing of the study: no attempt came to an end, the images are gone, or it is switched off.
    """

    OWED = "owed"
    RUNNING = "running"
    KEPT = "kept"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowTask:
    """What to do: the job of the answer over again, by `job.model_version`; and the answer to compare with."""

    job: Job
    answer: FrozenResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How two versions' lesions of one volume lie. dice: of all their voxels; None: neither has any.

    both: lesions of the answer that touch one of the shadow; answer_only, shadow_only: that touch none.
    """

    dice: float | None
    both: int
    answer_only: int
    shadow_only: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ShadowResult:
    """What the shadow says. overlap: None where either of the two did not look. inference: where no network has."""

    model: ModelIdentity
    finding: Finding
    timings_s: dict[str, float]
    peak_memory_mb: float | None = None
    energy: Energy | None = None
    overlap: Overlap | None = None
    inference: Inference | None = None


def overlap_of(answer: Labels, shadow: Labels) -> Overlap:
    """Compare two label maps [slice, row, column] on one grid; value n is lesion n, 0 none.

    Dice: twice the voxels of both over the sum of each (Dice 1945). Raises ValueError: the grids differ.
    """
    if answer.shape != shadow.shape:
        raise ValueError(f"label maps on grids of {answer.shape} and {shadow.shape}")
    of_answer, of_shadow = answer > 0, shadow > 0
    common = of_answer & of_shadow
    voxels = int(of_answer.sum()) + int(of_shadow.sum())
    touched, touching = np.unique(answer[common]).size, np.unique(shadow[common]).size
    return Overlap(
        dice=2 * int(common.sum()) / voxels if voxels else None,
        both=touched,
        answer_only=np.unique(answer[of_answer]).size - touched,
        shadow_only=np.unique(shadow[of_shadow]).size - touching,
    )
