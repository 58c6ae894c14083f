"""A result: what a worker freezes, once, and what delivery sends, byte for byte."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.finding import Finding, Occasion
from services.triage.model import ModelIdentity
from services.triage.tenant import NO_TENANT


class ObjectKind(StrEnum):
    """What a result may consist of. Each kind is one SOP class; a result may hold several objects of one kind."""

    SEG = "seg"
    SR = "sr"
    GSPS = "gsps"
    SC = "sc"
    KOS = "kos"


FALLBACKS = (ObjectKind.GSPS, ObjectKind.SC, ObjectKind.KOS)
"""Written on request, for viewers that cannot show a Segmentation; beside it, never instead of it."""

ALWAYS = frozenset({ObjectKind.SEG, ObjectKind.SR})
"""Written whoever asks, and what a destination gets that does not say otherwise."""

_KIND_OF = {
    "1.2.840.10008.5.1.4.1.1.66.4": ObjectKind.SEG,  # Segmentation
    "1.2.840.10008.5.1.4.1.1.88.34": ObjectKind.SR,  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.11.1": ObjectKind.GSPS,  # Grayscale Softcopy Presentation State
    "1.2.840.10008.5.1.4.1.1.7": ObjectKind.SC,  # Secondary Capture Image
    "1.2.840.10008.5.1.4.1.1.88.59": ObjectKind.KOS,  # Key Object Selection Document
}


def kind_of(sop_class_uid: str) -> ObjectKind:
    """The kind of a result's object, by its SOP Class UID. Raises KeyError when no result has such objects."""
    return _KIND_OF[sop_class_uid]


def wanted_by(kinds: Collection[ObjectKind], sop_class_uids: Iterable[str]) -> tuple[ObjectKind, ...]:
    """Which of these kinds are among the objects of these SOP classes, each once, in the objects' order."""
    return tuple(dict.fromkeys(kind for uid in sop_class_uids if (kind := kind_of(uid)) in kinds))


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultObject:
    """One DICOM Part 10 file of a result."""

    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One model's answer for one study version: the finding, and the objects that carry it to the PACS.

    series_instance_uid: the analysed series, None when none would do. timings_s: wall-clock seconds per stage.
    """

    model: ModelIdentity
    series_instance_uid: str | None
    finding: Finding
    objects: tuple[ResultObject, ...]
    timings_s: dict[str, float]
    peak_memory_mb: float | None = None


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


IDENTITY_CORRECTED = Reason(code="identity_corrected", text="sent under the corrected patient or order data instead")
RECALLED = Reason(code="recalled", text="the result was recalled")
OVERTAKEN = Reason(code="overtaken", text="the receiver was told of a later result already")
MOVED = Reason(code="moved", text="the study was moved to another tenant")
WITHDRAWN = frozenset({IDENTITY_CORRECTED.code, RECALLED.code, OVERTAKEN.code, MOVED.code})
"""Why a delivery was given up for good: a person who sends again what was given up must not send these."""


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

    objects: the kinds that it gets, of those that a result has. tenants: whose results it gets, and nobody else's.
    A receiver of notifications (`ReceiverKind`) gets none and is told; `told_of`: of which results.
    """

    name: str
    kind: str
    address: str
    objects: frozenset[ObjectKind] = ALWAYS
    told_of: frozenset[Occasion] = frozenset()
    tenants: frozenset[str] = frozenset({NO_TENANT})
