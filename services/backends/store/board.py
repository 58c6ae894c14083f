"""What the desk sees of the store: the work list, one study, and counts. Reads only; `SqlStudyStore.board` is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.job import JobKind, JobState, OrderPriority, SeriesRefusal
from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.result import DeliveryState, ObjectKind, Recall
from services.triage.study import Event, StudyAttributes, StudyState
from services.triage.tenant import NO_TENANT
from services.triage.workitem import ProcedureStepState


class ShownState(StrEnum):
    """The state of a study as people see it, derived from its newest version and that version's jobs.

    While any job is open: analysing, else queued. When all are frozen: failed before not_analysed before analysed.
    """

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"
    OUT_OF_SCOPE = "out_of_scope"


# The work list without a filter: all but what no rule claims.
LISTED = frozenset(ShownState) - {ShownState.OUT_OF_SCOPE}


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeToFlag:
    """From when the first and the last image of a version were recorded until the result was frozen that flags them."""

    flagged_at: datetime
    from_first_instance_s: float
    from_last_instance_s: float

    @classmethod
    def between(cls, first: datetime, last: datetime, flagged_at: datetime) -> "TimeToFlag":
        """Of a version whose first and last routable instance came at these times."""
        return cls(
            flagged_at=flagged_at,
            from_first_instance_s=max(0.0, (flagged_at - first).total_seconds()),
            from_last_instance_s=max(0.0, (flagged_at - last).total_seconds()),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FlagTimes:
    """Times to flag of so many studies: by percent, the least that so many percent of them do not exceed."""

    studies: int
    from_first_instance_s: Mapping[int, float] = field(default_factory=dict)
    from_last_instance_s: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """One line of the work list.

    version: the newest; 0 when no image has come yet. modalities: of all series, sorted.
    outcome to largest_long_axis_mm: of the leading result (highest flag, then score) of the newest version that has
    any; `result_version` tells which that is: smaller than `version` while a newer one is on its way.
    already_reported: an earlier result of the same images was delivered, and gives the study its place in the list.
    review: how far the review of that result is; None where it asks for none.
    recalled: that result, and every other of its version, was recalled; then nothing of what it said is told here.
    reason: why the study is out of scope, or its first not_analysed or failed result is.
    tenant: whose the study is, '' where there are no tenants.
    received_at, last_instance_at: first and newest instance. frozen_at: of the newest result. All times UTC.
    time_to_flag: of the result that gives the study its place; None until a model has looked at new images.
    """

    study: StudyAttributes
    state: ShownState
    priority: OrderPriority
    version: int
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    received_at: datetime
    last_instance_at: datetime
    completed_at: datetime | None = None
    frozen_at: datetime | None = None
    result_version: int | None = None
    outcome: Outcome | None = None
    flag: Flag | None = None
    score: float | None = None
    calibrated: bool = False
    model: ModelIdentity | None = None
    recalled: bool = False
    already_reported: bool = False
    review: ProcedureStepState | None = None
    lesion_count: int = 0
    largest_long_axis_mm: float | None = None
    reason: Reason | None = None
    tenant: str = NO_TENANT
    time_to_flag: TimeToFlag | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRow:
    """One received series. `conflicts`: SOP Instance UIDs that came with more than one content."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    instance_count: int
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientRow:
    """One patient whom images of the study are of; more than one is a fault to be mended where they come from."""

    patient_id: str
    issuer_of_patient_id: str
    image_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectRow:
    """One frozen DICOM object; `sha256` is its name in `StudyFiles.result_path`.

    note: the rejection note of a recalled result. names: the kind of Segmentation that a report refers to.
    """

    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    size_bytes: int
    note: bool
    names: ObjectKind | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRow:
    """A result, or what takes it back, on its way to a destination. reason: of the last failure.

    objects: what goes; nothing where a receiver is told in a message.
    """

    delivery_id: str
    destination: str
    address: str
    objects: tuple[ObjectKind, ...]
    state: DeliveryState
    attempt: int
    next_at: datetime | None
    reason: Reason | None
    note: bool
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRow:
    """One frozen result. superseded_by: the next result of the same model."""

    result_id: str
    model: ModelIdentity
    series_instance_uid: str | None
    outcome: Outcome
    score: float | None
    flag: Flag
    calibrated: bool
    reason: Reason | None
    lesions: tuple[Lesion, ...]
    objects: tuple[ObjectRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    timings_s: dict[str, float]
    peak_memory_mb: float | None
    frozen_at: datetime
    superseded_by: str | None
    recall: Recall | None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """One job of a version, its history, and its result once frozen. `attempt`: how often it was leased."""

    job_id: str
    kind: JobKind
    model_name: str
    series_instance_uid: str | None
    state: JobState
    attempt: int
    refusal: Reason | None
    refused_series: tuple[SeriesRefusal, ...]
    queued_at: datetime
    result: ResultRow | None
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRow:
    """One version of the study. `out_of_scope`: why no rule claims it."""

    number: int
    state: StudyState
    opened_at: datetime
    completed_at: datetime | None
    out_of_scope: Reason | None
    jobs: tuple[JobRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDetail:
    """All of one study: versions newest first, `events` (of the study and its versions) oldest first."""

    row: StudyRow
    patients: tuple[PatientRow, ...]
    series: tuple[SeriesRow, ...]
    versions: tuple[VersionRow, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """For metrics; keys are plain values of the enumerations.

    studies: by shown state. jobs: by job state. deliveries: by (destination name, state).
    outcomes: frozen results by (model name, outcome, flag). commitments: requests made to us, by (calling AE, state).
    adt: HL7 messages by (event, outcome).
    oldest_...: since when the oldest that is queued, that is queued or analysing, that is a pending delivery, or that
    is a request not yet reported has been so; None when there is none.
    completions: complete versions by what told that they are (`Completion`), but for the quiet period and people.
    waiting_for_pacs: receiving versions of which a PACS has more.
    """

    studies: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[tuple[str, str], int]
    outcomes: dict[tuple[str, str, str], int]
    commitments: dict[tuple[str, str], int]
    adt: dict[tuple[str, str], int]
    oldest_queued_at: datetime | None
    oldest_unfinished_at: datetime | None
    oldest_pending_delivery_at: datetime | None
    completions: dict[str, int]
    waiting_for_pacs: int
    oldest_open_commitment_at: datetime | None
