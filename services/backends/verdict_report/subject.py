"""What a document of verdicts is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.verdict import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """An instance of the study."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessed:
    """A result of the AI that was answered to. report, segmentation: None where it has none."""

    model: ModelIdentity
    lesions: tuple[Lesion, ...] = ()
    report: Reference | None = None
    segmentation: Reference | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """That the reader had shown who they are, and said at this moment that they had finished."""

    at: datetime
    organization: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """All that is told. header: of an image of the study, with the patient data that hold.

    verdicts: those of this reader that stand, oldest first; none: all were taken back. assessed: by result_id, every
    result that they answer to. stored: by SOP Instance UID, the instances of the study that a verdict may name.
    predecessor: the reader's document before this one. verification: None: UNVERIFIED.
    """

    header: Dataset
    reader: str
    verdicts: Sequence[Verdict]
    assessed: Mapping[str, Assessed]
    stored: Mapping[str, Reference]
    now: datetime
    predecessor: Reference | None = None
    verification: Verification | None = None
