"""What Vigie knows of a model: who it is, what its classes mean, and where its thresholds lie."""

from dataclasses import dataclass
from enum import StrEnum


class ClassKind(StrEnum):
    """What a class of the model stands for; only tumour classes make lesions."""

    TUMOUR = "tumour"
    ORGAN = "organ"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A coded concept (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelClass:
    """One label value of the model and what it stands for."""

    value: int
    name: str
    kind: ClassKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """All on the 0..1 score: equivocal_low <= detect <= elevated <= urgent."""

    equivocal_low: float
    detect: float
    elevated: float
    urgent: float

    def __post_init__(self) -> None:
        if not 0 <= self.equivocal_low <= self.detect <= self.elevated <= self.urgent <= 1:
            raise ValueError("thresholds must satisfy 0 <= equivocal_low <= detect <= elevated <= urgent <= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """Which weights answered: every result names all three."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model as its bundle's metadata describes it (`triage` section of configs/metadata.json).

    probability_threshold: voxels at or above it (0..1) form candidates. min_volume_ml: smaller ones are dropped.
    min_slices: fewest slices a series must have. calibrated: on at least 200 reference studies of patients.
    """

    identity: ModelIdentity
    modality: str
    anatomic_region: Code
    classes: tuple[ModelClass, ...]
    thresholds: Thresholds
    probability_threshold: float
    min_volume_ml: float
    min_slices: int
    calibrated: bool
    scope_statement: str
    sensitivity_statement: str
    description: str = ""
