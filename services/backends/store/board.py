"""What the desk sees of the store: the work list, one study, and counts. Reads only; `SqlStudyStore.board` is one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.triage.blind import Hold
from services.triage.errors import Reason
from services.triage.finding import Flag, Outcome
from services.triage.inference import Inference
from services.triage.job import JobKind, JobState, OrderPriority, SeriesRefusal
from services.triage.lesion import Lesion
from services.triage.model import ModelIdentity
from services.triage.organ import Organ, organs_only
from services.triage.reading import UNREAD, Reading
from services.triage.result import DeliveryState, EnergySource, ObjectKind, Recall
from services.triage.study import Event, StudyAttributes, StudyState
from services.triage.tenant import NO_TENANT
from services.triage.uncertainty import Uncertainty
from services.triage.verdict_document import VerdictDocument
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


class AiSays(StrEnum):
    """What the work list shows for the AI of a study, in one word.

    The model looked: urgent, elevated, found (below the flags), equivocal, nothing. It looked, but for no lesions:
    organs. It did not: unseen (not analysed, failed, recalled, switched off, out of scope), waiting. withheld: that
    is told once a reader has looked.
    """

    URGENT = "urgent"
    ELEVATED = "elevated"
    FOUND = "found"
    EQUIVOCAL = "equivocal"
    NOTHING = "nothing"
    ORGANS = "organs"
    UNSEEN = "unseen"
    WAITING = "waiting"
    WITHHELD = "withheld"


_ON_ITS_WAY = frozenset({ShownState.RECEIVING, ShownState.QUEUED, ShownState.ANALYSING})
FLAGGED = {Flag.URGENT: AiSays.URGENT, Flag.ELEVATED: AiSays.ELEVATED, Flag.ROUTINE: AiSays.FOUND}
OUTCOMES = {Outcome.EQUIVOCAL: AiSays.EQUIVOCAL, Outcome.NOTHING_FOUND: AiSays.NOTHING}


def ai_says(
    state: ShownState, outcome: Outcome | None, flag: Flag | None, reason: Reason | None, *, recalled: bool
) -> AiSays:
    """Of a study in this state, by its leading result and why it was not analysed; outcome, flag: None: it has none."""
    if recalled:
        return AiSays.UNSEEN
    if outcome is None or flag is None:
        return AiSays.WAITING if state in _ON_ITS_WAY else AiSays.UNSEEN
    if organs_only(reason):
        return AiSays.ORGANS
    return FLAGGED[flag] if outcome is Outcome.FOUND else OUTCOMES.get(outcome, AiSays.UNSEEN)


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


def shown_of(last_instance_at: datetime, frozen_at: datetime | None) -> str:
    """What a line of the work list tells of: another one as soon as newer images or a newer result are."""
    return " ".join(str(at.timestamp()) for at in (last_instance_at, frozen_at) if at is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """One line of the work list.

    version: the newest; 0 when no image has come yet. modalities: of all series, sorted.
    outcome to largest_long_axis_mm: of the leading result (highest flag, then score) of the newest version that has
    any; `result_version` tells which that is: smaller than `version` while a newer one is on its way.
    already_reported: an earlier result of the same images was delivered, and gives the study its place in the list.
    review: how far the review of that result is; None where it asks for none.
    recalled: that result, and every other of its version, was recalled; then nothing of what it said is told here.
    reason: why the study is out of scope, or its first not_analysed or failed result is. result_reason: why the leading
    result is.
    tenant: whose the study is, '' where there are no tenants.
    received_at, last_instance_at: first and newest instance. frozen_at: of the newest result. All times UTC.
    time_to_flag: of the result that gives the study its place; None until a model has looked at new images.
    opened_at: when the first image of the newest version came. priority_from: what gave the priority
    (`triage.routing.order_priority`). result_id: of the leading result. reading: who has it, or has read it.
    rank: `triage.reading.rank`.
    withheld_until: a result of that version is withheld until a reader has assessed the study, until then at the
    latest; nothing of what the AI said is told here. None: nothing is.
    switched_off: the model of that result is switched off, and its flag does not count.
    images_deleted_at: since when its images are not kept here any more; None: they are, or some of them.
    pseudonym: of the patient, where who asks sees no identities; then `study` has it for a name and is empty else.
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
    result_reason: Reason | None = None
    tenant: str = NO_TENANT
    time_to_flag: TimeToFlag | None = None
    opened_at: datetime | None = None
    priority_from: str = ""
    result_id: str | None = None
    reading: Reading = UNREAD
    rank: float = 0.0
    withheld_until: datetime | None = None
    switched_off: bool = False
    images_deleted_at: datetime | None = None
    pseudonym: str | None = None

    @property
    def shown(self) -> str:
        """As `shown_of` has it."""
        return shown_of(self.last_instance_at, self.frozen_at)

    @property
    def ai_says(self) -> AiSays:
        """For the AI, in one word."""
        if self.withheld_until is not None:
            return AiSays.WITHHELD
        if self.switched_off and self.outcome is not None:
            return AiSays.UNSEEN
        return ai_says(self.state, self.outcome, self.flag, self.result_reason, recalled=self.recalled)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesRow:
    """One received series. `conflicts`: SOP Instance UIDs that came with more than one content.

    deleted_count: instances whose files are not kept here any more.
    """

    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    instance_count: int
    conflicts: tuple[str, ...] = ()
    deleted_count: int = 0


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
    """One frozen result. superseded_by: the next result of the same model. rewrites: the result that it is again.

    newer_images: images came that it is not of: to answer to it does not mark the study as read.
    energy_j: of the analysis. switched_off: its model is. kept_back: that is why, or a recall is, what has not gone out
    does not.
    """

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
    rewrites: str | None = None
    newer_images: bool = False
    energy_j: float | None = None
    energy_source: EnergySource | None = None
    switched_off: bool = False
    kept_back: bool = False
    cautions: tuple[Reason, ...] = ()
    uncertainty: Uncertainty | None = None
    inference: Inference | None = None
    organs: tuple[Organ, ...] = ()

    @property
    def counts_no_more(self) -> bool:
        """Its model is switched off, or it was recalled, or is about to be: nobody is asked about it."""
        return self.recall is not None or self.kept_back


@dataclass(frozen=True, kw_only=True, slots=True)
class WithheldRow:
    """A frozen result that is withheld; when it was frozen, and what it is of, is no secret."""

    result_id: str
    model: ModelIdentity
    series_instance_uid: str | None
    frozen_at: datetime
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """One job of a version, its history, and its result once frozen. `attempt`: how often it was leased.

    withheld: in the place of a result that is withheld; the history then lacks what would tell of it.
    hold: of a result that is or was withheld.
    """

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
    withheld: WithheldRow | None
    hold: Hold | None
    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionRow:
    """One version of the study. `out_of_scope`: why no rule claims it. trace_id: of its trace, 32 hex digits."""

    number: int
    state: StudyState
    opened_at: datetime
    completed_at: datetime | None
    out_of_scope: Reason | None
    jobs: tuple[JobRow, ...]
    trace_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictDocumentRow:
    """A reader's verdicts as a DICOM document, and where it goes."""

    document: VerdictDocument
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDetail:
    """All of one study: versions newest first, `events` (of the study and its versions) and documents oldest first."""

    row: StudyRow
    patients: tuple[PatientRow, ...]
    series: tuple[SeriesRow, ...]
    versions: tuple[VersionRow, ...]
    events: tuple[Event, ...]
    verdict_documents: tuple[VerdictDocumentRow, ...] = ()

    @property
    def results(self) -> tuple[ResultRow, ...]:
        """Every result, those of the newest version first."""
        return tuple(job.result for version in self.versions for job in version.jobs if job.result is not None)

    def as_it_is_now(self, result_id: str) -> ResultRow:
        """A result, or what it was written again as under corrected patient data. Raises KeyError: it is unknown."""
        found = {one.result_id: one for one in self.results}[result_id]
        again = next((one for one in self.results if one.rewrites == result_id), None)
        return found if again is None else self.as_it_is_now(again.result_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """For metrics; keys are plain values of the enumerations.

    studies: by shown state. jobs: by job state. deliveries: by (destination name, state); given up for good,
    or by a person, is `withdrawn`. outcomes: frozen results by (model name, outcome, flag); of neither those that are
    withheld.
    commitments: requests made to us, by (calling AE, state).
    adt: HL7 messages by (event, outcome).
    oldest_...: since when the oldest that is queued, that is queued or analysing, that is a pending delivery, that is
    one sent and not yet committed though that is to be asked for, or that is a request not yet reported has been owed;
    None when there is none. oldest_receiving_image_at: the last image of the receiving version that has waited longest.
    completions: complete versions by what told that they are (`Completion`), but for the quiet period and people.
    waiting_for_pacs: receiving versions of which a PACS has more.
    kept_back: pending deliveries that may not leave now; the oldest of the others is told of above.
    """

    studies: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[tuple[str, str], int]
    outcomes: dict[tuple[str, str, str], int]
    commitments: dict[tuple[str, str], int]
    adt: dict[tuple[str, str], int]
    oldest_receiving_image_at: datetime | None
    oldest_queued_at: datetime | None
    oldest_unfinished_at: datetime | None
    oldest_pending_delivery_at: datetime | None
    oldest_uncommitted_delivery_at: datetime | None
    completions: dict[str, int]
    waiting_for_pacs: int
    oldest_open_commitment_at: datetime | None
    kept_back: int = 0
