"""A result: what a worker freezes, once, and what delivery sends, byte for byte."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.finding import Finding
from services.triage.model import ModelIdentity


class Fallback(StrEnum):
    """An object that shows lesions to viewers that cannot show a Segmentation; beside it, never instead of it."""

    GSPS = "gsps"
    SC = "sc"
    KOS = "kos"


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
WITHDRAWN = frozenset({IDENTITY_CORRECTED.code, RECALLED.code})
"""Why a delivery was given up for good: a person who sends again what was given up must not send these."""


class DeliveryState(StrEnum):
    """The one axis of a delivery (one result to one destination)."""

    PENDING = "pending"
    SENT = "sent"
    COMMITTED = "committed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where results go, and its one-word `name`: `dicom` is AET@HOST:PORT, `dicomweb` a URL, `folder` a directory."""

    name: str
    kind: str
    address: str
