"""A result: what a worker freezes, once, and what delivery sends, byte for byte."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.finding import Finding, Occasion
from services.triage.inference import Inference
from services.triage.model import ModelIdentity, Thresholds
from services.triage.tenant import NO_TENANT


class ObjectKind(StrEnum):
    """What a result may consist of. Each kind is one SOP class; a result may hold several objects of one kind."""

    SEG = "seg"
    LABELMAP = "labelmap"
    """the same lesions as SEG, every voxel in one frame with its lesion's number (Supplement 243)"""
    SR = "sr"
    GSPS = "gsps"
    SC = "sc"
    KOS = "kos"


FALLBACKS = (ObjectKind.GSPS, ObjectKind.SC, ObjectKind.KOS)
"""Written on request, for viewers that cannot show a Segmentation; beside it, never instead of it."""

ALWAYS = frozenset({ObjectKind.SEG, ObjectKind.SR})
"""Written whoever asks, and what a destination gets that does not say otherwise."""

LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage (Supplement 243), which pydicom 3.0 does not know."""

_KIND_OF = {
    "1.2.840.10008.5.1.4.1.1.66.4": ObjectKind.SEG,  # Segmentation
    LABEL_MAP_STORAGE: ObjectKind.LABELMAP,
    "1.2.840.10008.5.1.4.1.1.88.34": ObjectKind.SR,  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.11.1": ObjectKind.GSPS,  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.7": ObjectKind.SC,  # Secondary Capture Image
    "1.2.840.10008.5.1.4.1.1.88.59": ObjectKind.KOS,  # Key Object Selection Document
}


SEGMENTATIONS = frozenset(uid for uid, kind in _KIND_OF.items() if kind in (ObjectKind.SEG, ObjectKind.LABELMAP))
"""SOP Class UIDs of the forms in which lesions are segmented; a destination takes one of them, or none."""


def kind_of(sop_class_uid: str) -> ObjectKind:
    """The kind of a result's object, by its SOP Class UID. Raises KeyError when no result has such objects."""
    return _KIND_OF[sop_class_uid]


def kinds_of(sop_class_uids: Iterable[str]) -> tuple[ObjectKind, ...]:
    """The kinds of objects of these SOP classes, each once, in their order."""
    return tuple(dict.fromkeys(kind_of(uid) for uid in sop_class_uids))


def taken_by(kinds: Collection[ObjectKind], objects: Sequence[tuple[str, ObjectKind | None]]) -> list[bool]:
    """Which of a result's objects, as (SOP Class UID, `names`), go to a destination that takes these kinds.

    Of its reports that which names the Segmentation that goes too, or else that which names none. Where there is
    neither, because the destination chose otherwise after the lesions were segmented: any report rather than none.
    """
    named = [names for sop_class_uid, names in objects if kind_of(sop_class_uid) is ObjectKind.SR]
    fitting = next((names for names in named if names in kinds), None if None in named else next(iter(named), None))
    return [
        (kind := kind_of(sop_class_uid)) in kinds and (kind is not ObjectKind.SR or names is fitting)
        for sop_class_uid, names in objects
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultObject:
    """One DICOM Part 10 file of a result. names: the kind of Segmentation that a report refers to."""

    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    content: bytes = field(repr=False)
    names: ObjectKind | None = None


class EnergySource(StrEnum):
    """measured: by counters of the machine. estimated: at least in part from CPU time and a power per core."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """What an analysis took."""

    joules: float
    source: EnergySource


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One model's answer for one study version: the finding, and the objects that carry it to the PACS.

    series_instance_uid: the analysed series, None when none would do. timings_s: wall-clock seconds per stage.
    thresholds: by which the finding was decided; None: nothing was, or by those of an earlier result.
    inference: None where no network has looked.
    """

    model: ModelIdentity
    series_instance_uid: str | None
    finding: Finding
    objects: tuple[ResultObject, ...]
    timings_s: dict[str, float]
    peak_memory_mb: float | None = None
    energy: Energy | None = None
    thresholds: Thresholds | None = None
    inference: Inference | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """That a person took a result back: when, who and why. It stays so."""

    recalled_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenResult:
    """A result as the store has it. sha256s: of its objects, in their order (`StudyFiles.result_path`)."""

    result_id: str
    model: ModelIdentity
    series_instance_uid: str | None
    finding: Finding
    sha256s: tuple[str, ...]
    recall: Recall | None = None
    inference: Inference | None = None


IDENTITY_CORRECTED = Reason(code="identity_corrected", text="sent under the corrected patient or order data instead")
RECALLED = Reason(code="recalled", text="the result was recalled")
OVERTAKEN = Reason(code="overtaken", text="the receiver was told of a later result already")
MOVED = Reason(code="moved", text="the study was moved to another tenant")
WITHDRAWN = frozenset({IDENTITY_CORRECTED.code, RECALLED.code, OVERTAKEN.code, MOVED.code})
"""Why a delivery was given up for good: a person who sends again what was given up must not send these."""
ABANDONED = "abandoned"
"""Why a person gave a delivery up, whose destination is there no more. It can be sent again, should it come back."""


class ReceiverKind(StrEnum):
    """How somebody is told of a result: an HL7 v2 message, FHIR resources, or a signed HTTP request."""

    HL7 = "hl7"
    FHIR = "fhir"
    WEBHOOK = "webhook"


class DeliveryState(StrEnum):
    """The one axis of a delivery (one result to one destination).

    sent: the destination has said success. committed: it has promised to keep them (Storage Commitment).
    """

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    GIVEN_UP = "given_up"


MAY_BECOME: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENT, DeliveryState.COMMITTED, DeliveryState.GIVEN_UP}),
    # back to pending: the destination does not commit all that it took
    DeliveryState.SENT: frozenset({DeliveryState.COMMITTED, DeliveryState.PENDING, DeliveryState.GIVEN_UP}),
    DeliveryState.COMMITTED: frozenset(),
    # pending: a person asks for it again; the others: an answer that came late
    DeliveryState.GIVEN_UP: frozenset({DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.COMMITTED}),
}


def reached_from(state: DeliveryState) -> list[DeliveryState]:
    """From where a delivery may reach a state."""
    return [one for one in DeliveryState if state in MAY_BECOME[one]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where results go, and its `name`: `dicom` is AET@HOST:PORT, `dicomweb` a URL, `folder` a directory.

    objects: the kinds that it gets, of those that a result has; SEG or LABELMAP, not both. tenants: whose results it
    gets, and nobody else's. A receiver of notifications (`ReceiverKind`) gets none and is told; `told_of`: of which
    results. verdicts: whether it gets the documents of what readers answered, too.
    """

    name: str
    kind: str
    address: str
    objects: frozenset[ObjectKind] = ALWAYS
    told_of: frozenset[Occasion] = frozenset()
    tenants: frozenset[str] = frozenset({NO_TENANT})
    verdicts: bool = False

    @property
    def segmentation(self) -> ObjectKind | None:
        """The form in which it gets segmented lesions, None where it gets them in none."""
        return next((kind for kind in (ObjectKind.SEG, ObjectKind.LABELMAP) if kind in self.objects), None)


def segmentations_for(destinations: Iterable[Destination]) -> tuple[ObjectKind | None, ...]:
    """The forms in which a result is written: SEG with its report always, the others where any takes them.

    None: a report that names no Segmentation, for who takes no SEG.
    """
    others = [one for one in destinations if one.segmentation is not ObjectKind.SEG]
    label_map = any(one.segmentation is ObjectKind.LABELMAP for one in others)
    report = any(ObjectKind.SR in one.objects for one in others)
    return (ObjectKind.SEG, *[ObjectKind.LABELMAP] * label_map, *[None] * report)
