"""How a network was run: as the bundle says, or faster; a result says which."""

from dataclasses import dataclass
from enum import StrEnum

from services.triage.errors import Reason


class InferenceMode(StrEnum):
    """reference: PyTorch in float32, voxel for voxel MONAI's own run. fast: converted, and near to it."""

    REFERENCE = "reference"
    FAST = "fast"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """What one volume was looked at with. why: what kept all or part of it from the fast mode that was asked for."""

    mode: InferenceMode = InferenceMode.REFERENCE
    why: Reason | None = None

    def __str__(self) -> str:
        return f"{self.mode} ({self.why.code})" if self.why else str(self.mode)


REFERENCE = Inference()
