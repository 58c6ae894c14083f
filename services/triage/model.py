"""What Vigie knows of a model: who it is, what its classes mean, and where its thresholds lie."""

from dataclasses import dataclass
from enum import StrEnum

from services.triage.calibration import Calibration
from services.triage.expectation import Expectation


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
    """One label value of the model and what it stands for.

    category, type: of a segment (PS3.16 CID 7150 and what hangs on it: of organs CID 7151 and others, of lesions CID
    7159), None for what every lesion is called.
    channels: of the model's answer that speak for it (from 0); none told: the one that is numbered like the label.
    """

    value: int
    name: str
    kind: ClassKind
    category: Code | None = None
    type: Code | None = None
    channels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInput:
    """One series that the model needs. patterns: regular expressions, one of which its folded descriptions match."""

    name: str
    modality: str
    patterns: tuple[str, ...] = ()


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

    def through(self, calibration: Calibration) -> "Thresholds":
        """Of calibrated scores, deciding as before."""
        told = (calibration(at) for at in (self.equivocal_low, self.detect, self.elevated, self.urgent))
        return Thresholds(**dict(zip(("equivocal_low", "detect", "elevated", "urgent"), told, strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelIdentity:
    """Which weights answered: every result names all three."""

    name: str
    version: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model as its bundle's metadata describes it (`triage` section of configs/metadata.json).

    probability_threshold: where the bundle's own postprocessing cuts (0..1), for people: candidates are made of the
    labels that it gives. min_volume_ml: smaller ones are dropped.
    min_slices: fewest slices a series must have. calibrated: on at least 200 reference studies of patients.
    expects: of the images; what is far from it is not analysed. calibration: every score goes through it; thresholds
    already have.
    inputs: the series that it takes as channels, in their order; none told: the one series of `modality`.
    bundle_sha256: of all that decides the answer, this metadata included; the same weights may be of many bundles.
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
    expects: tuple[Expectation, ...] = ()
    calibration: Calibration | None = None
    inputs: tuple[ModelInput, ...] = ()
    bundle_sha256: str = ""

    def class_of(self, value: int | None) -> ModelClass | None:
        """The class with this label value, None where it says nothing of it."""
        return next((each for each in self.classes if each.value == value), None)

    @property
    def tumour_values(self) -> tuple[int, ...]:
        """Label values of the classes that make lesions."""
        return tuple(each.value for each in self.classes if each.kind is ClassKind.TUMOUR)

    def region_of(self, organ: str | None) -> Code:
        """The coded region of what lies in an organ class of that name: the organ's own, or the model's."""
        types = (each.type for each in self.classes if each.name == organ and each.kind is ClassKind.ORGAN)
        return next((type_ for type_ in types if type_ is not None), self.anatomic_region)
