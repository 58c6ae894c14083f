"""The JSON of the HTTP API: a contract of its own, filled from the store's rows by attribute names."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from services.backends.store.board import AiSays, ShownState
from services.gateway.examples import DETAIL_EXAMPLE, STUDY_EXAMPLE
from services.triage.blind import HoldEnd
from services.triage.finding import Flag, Outcome
from services.triage.inference import InferenceMode
from services.triage.job import JobKind, JobState, OrderPriority
from services.triage.reading import ReadAgain, ReadingState
from services.triage.result import DeliveryState, EnergySource, ObjectKind
from services.triage.study import StudyState
from services.triage.workitem import ProcedureStepState


def _priority_name(value: object) -> object:
    return value.name.lower() if isinstance(value, OrderPriority) else value


Priority = Annotated[Literal["stat", "high", "routine"], BeforeValidator(_priority_name)]


class _Schema(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ReasonOut(_Schema):
    """A coded reason."""

    code: str = Field(description="Stable, snake_case, for machines.")
    text: str = Field(description="For people; never patient data.")


class EventOut(_Schema):
    """One line of a history."""

    time: datetime
    actor: str = Field(description="A component, a person or an AE title.")
    what: str
    cause: str


class ModelOut(_Schema):
    """Which weights answered."""

    name: str
    version: str
    weights_sha256: str


class PatientStudyOut(_Schema):
    """Patient and study level attributes, as the DICOM headers have them (VR strings)."""

    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str = Field(description="Whose ID it is: the same ID of two issuers is two patients.")
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    patient_age: str
    study_date: str
    study_time: str
    study_description: str
    study_id: str
    accession_number: str


class TimeToFlagOut(_Schema):
    """Until the result was frozen that gives the study its place, since the images that it is of were recorded."""

    flagged_at: datetime
    from_first_instance_s: float = Field(description="Since the first routable instance of the version.")
    from_last_instance_s: float = Field(description="Since its last; the quiet period is part of it.")


class ReadingOut(_Schema):
    """How far the reading of a study is."""

    state: ReadingState = Field(description="taken: somebody reads it; read: the reader's part is done.")
    reader: str = Field(description="Who has taken or read it; empty: nobody.")
    since: datetime | None
    again: ReadAgain | None = Field(
        description="Why a study that was read is unread again; null too while that is withheld."
    )


class ReadingIn(BaseModel):
    """What to do, in the name of whoever asks."""

    action: Literal["take", "release", "read", "reopen"]
    seen: str | None = Field(
        None,
        max_length=200,
        description="Who had the study as far as the reader knows, '' for nobody: 409 where another has it by now. "
        "null: take it over from whoever has it.",
    )


class StudyOut(_Schema):
    """One line of the work list."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [STUDY_EXAMPLE]})

    study: PatientStudyOut
    state: ShownState
    priority: Priority = Field(description="Of the order, never of the AI.")
    version: int = Field(description="The newest; 0 when no image has come yet.")
    result_version: int | None = Field(
        description="Whose result this is; smaller than version: what came since is not in it."
    )
    modalities: list[str]
    series_count: int
    instance_count: int
    received_at: datetime
    last_instance_at: datetime
    completed_at: datetime | None
    frozen_at: datetime | None
    outcome: Outcome | None = Field(description="Of the leading result. null: there is none that counts.")
    flag: Flag | None = Field(description="Of the AI; it only ever moves a study up.")
    score: float | None = Field(description="0..1, the model's own; null when the model did not look.")
    calibrated: bool = Field(description="Whether the score was calibrated on patients.")
    model: ModelOut | None
    already_reported: bool = Field(
        description="An earlier result of the same images was delivered, and gives the study its place in the list."
    )
    review: ProcedureStepState | None = Field(
        description="How far the review of the leading result is (UPS-RS); null: it asks for none."
    )
    recalled: bool = Field(description="The leading result was recalled: nothing of what it said is told here.")
    lesion_count: int
    largest_long_axis_mm: float | None
    reason: ReasonOut | None = Field(description="Why out of scope, not analysed or failed.")
    priority_from: str = Field(description="What gave the priority: 'order', 'rule NAME', 'ae TITLE', 'asked', or ''.")
    ai_says: AiSays = Field(
        description="What the list shows for the AI, in one word. found: below the flags; nothing: it looked and found "
        "nothing; organs: it measured organs and looked for no lesions; unseen: it did not look, or what it said does "
        "not count; waiting: no result yet; withheld: told once a reader has assessed the study."
    )
    result_id: str | None = Field(description="The leading result.")
    reading: ReadingOut
    tenant: str = Field(description="Whose study it is (VIGIE_TENANTS); empty where there are no tenants.")
    time_to_flag: TimeToFlagOut | None = Field(
        description="null: no model has looked yet, or only because a person asked again. Results that were written "
        "again for corrected patient data do not count."
    )
    withheld_until: datetime | None = Field(
        None,
        description="What the AI says is withheld until a reader has given their own assessment, and no longer than "
        "this: nothing of it is told here. null: nothing is withheld.",
    )
    switched_off: bool = Field(description="The model of this result is switched off: its flag does not count.")
    images_deleted_at: datetime | None = Field(
        None, description="Since when its images are not kept here any more (retention); null: they are, or some are."
    )
    pseudonym: str | None = Field(
        description="Of the patient, for who sees no identities: then all of the study but its UID is empty."
    )

    @model_validator(mode="after")
    def _name_no_pseudonym(self) -> "StudyOut":
        if self.pseudonym is not None:
            self.study.patient_name = ""
        return self


class StudyListOut(_Schema):
    """A page of the work list, in its order."""

    studies: list[StudyOut]
    limit: int
    previous: str | None = Field(description="`before` of the page before this one; null: this is the first.")
    next: str | None = Field(description="`after` of the next page; null: this is the last.")


class SpreadOut(_Schema):
    """A score over the runs: the ordinary one and those on mirrored images, on the same voxels. Of these runs alone."""

    runs: int = Field(description="How many, the ordinary one included.")
    sd: float = Field(description="Their standard deviation.")
    lowest: float
    highest: float


class UncertaintyOut(_Schema):
    """What became of the mirrored runs: the spread of the study's score, or the reason why there is none."""

    spread: SpreadOut | None
    reason: ReasonOut | None


class InferenceOut(_Schema):
    """How the network ran (VIGIE_INFERENCE): reference, which is PyTorch in float32, or fast."""

    mode: InferenceMode
    reason: ReasonOut | None = Field(
        validation_alias=AliasChoices("why", "reason"),  # of the result's own record, or of a document
        description="What kept all or part of it from the fast mode that was asked for.",
    )


class LesionOut(_Schema):
    """One lesion (found) or candidate (equivocal); slices count from 0 at the volume's first slice."""

    number: int
    tracking_uid: str
    label: str
    score: float
    volume_ml: float
    long_axis_mm: float
    short_axis_mm: float
    max_diameter_3d_mm: float
    centroid_lps_mm: tuple[float, float, float]
    slice_range: tuple[int, int]
    key_slice: int
    mean_intensity: float
    sd_intensity: float
    organ: str | None = Field(None, description="The organ class of the model that surrounds it.")
    spread: SpreadOut | None = Field(None, description="Of its score over mirrored runs; null: none were made.")


class OrganOut(_Schema):
    """One organ class of the model: how much of it is in the image. It is no lesion."""

    label: str
    volume_ml: float | None = Field(
        description="Of its own label; the voxels of lesions in it are not included. null: not found."
    )
    cut_off: bool = Field(description="It touches the edge of the image: the volume is that of the visible part.")


class ObjectOut(_Schema):
    """One frozen DICOM object; its bytes are at /api/results/{sop_instance_uid}."""

    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    sha256: str
    size_bytes: int
    note: bool = Field(description="The rejection note of a recalled result (Key Object Selection, IHE IOCM).")
    names: ObjectKind | None = Field(
        description="Of a report: seg where it refers to the segments; null: the long axes are in it as lines."
    )


class DeliveryOut(_Schema):
    """One result on its way to one destination: which of its objects go; `reason` is of the last failed try.

    To a receiver that is told of it in a message, no object goes.
    """

    delivery_id: str
    destination: str
    address: str
    objects: list[ObjectKind]
    state: DeliveryState
    attempt: int
    next_at: datetime | None
    reason: ReasonOut | None
    note: bool = Field(description="Of the rejection note, or the withdrawal, not of the result.")
    events: list[EventOut]


class RecallOut(_Schema):
    """A result that was taken back: when, who and why. It stays so."""

    recalled_at: datetime
    actor: str
    reason: str


class RecallIn(BaseModel):
    """Why a result is taken back."""

    model_config = ConfigDict(
        str_strip_whitespace=True, json_schema_extra={"examples": [{"reason": "segments the diaphragm"}]}
    )

    reason: str = Field(
        min_length=1, max_length=500, description="For the history and the rejection note; no patient data."
    )


class ResultOut(_Schema):
    """One frozen result."""

    result_id: str
    model: ModelOut
    series_instance_uid: str | None
    outcome: Outcome
    score: float | None
    flag: Flag
    calibrated: bool
    reason: ReasonOut | None
    lesions: list[LesionOut]
    objects: list[ObjectOut]
    deliveries: list[DeliveryOut]
    timings_s: dict[str, float]
    peak_memory_mb: float | None
    frozen_at: datetime
    superseded_by: str | None = Field(description="The next result of the same model (result_id); null: the newest.")
    recall: RecallOut | None
    energy_j: float | None = Field(description="Energy of the analysis (J); null: not told.")
    energy_source: EnergySource | None = Field(
        description="measured by the machine's counters, or estimated, at least in part, from CPU time."
    )
    kept_back: bool = Field(description="What has not gone out does not: its model is switched off, or recalled.")
    cautions: list[ReasonOut] = Field(description="In what the images are unlike those that the model was made for.")
    uncertainty: UncertaintyOut | None = Field(description="null: it was not asked for (VIGIE_UNCERTAINTY).")
    inference: InferenceOut | None = Field(description="null: no network has looked, or an older Vigie asked it.")
    organs: list[OrganOut] = Field(
        description="All organ classes of the model; none where it has none, did not look, or an older Vigie asked it."
    )


class WithheldOut(_Schema):
    """A frozen result that is withheld until a reader has given their own assessment, and no longer than `until`."""

    result_id: str
    model: ModelOut
    series_instance_uid: str | None
    frozen_at: datetime
    until: datetime


class HoldOut(_Schema):
    """That a result is or was withheld, and what ended it. Who read before `ended_at` read without the AI."""

    since: datetime
    until: datetime
    ended_at: datetime | None = Field(description="null: it has not ended, or by itself at `until`.")
    end: HoldEnd | None
    ended_by: str = Field(description="The reader whose assessment ended it; empty where nobody's did.")


class SeriesRefusalOut(_Schema):
    """Why one series was not chosen."""

    series_instance_uid: str
    reason: ReasonOut


class JobOut(_Schema):
    """One model's job on a version; `attempt` counts how often a worker took it."""

    job_id: str
    kind: JobKind = Field(description="reconcile: an earlier result again, under corrected patient or order data.")
    model_name: str
    series_instance_uid: str | None
    state: JobState
    attempt: int
    refusal: ReasonOut | None
    refused_series: list[SeriesRefusalOut]
    queued_at: datetime
    result: ResultOut | None = Field(description="null: not frozen yet, or withheld.")
    withheld: WithheldOut | None = None
    hold: HoldOut | None = None
    events: list[EventOut]


class VersionOut(_Schema):
    """One version of the study."""

    number: int
    state: StudyState
    opened_at: datetime
    completed_at: datetime | None
    out_of_scope: ReasonOut | None
    jobs: list[JobOut]
    trace_id: str | None = Field(
        None, description="Of its trace, from the first image to the delivered result: 32 hex digits, as in the log."
    )


class SeriesOut(_Schema):
    """One received series; `conflicts` are SOP Instance UIDs that came with more than one content."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    instance_count: int
    conflicts: list[str]
    deleted_count: int = Field(0, description="Of these, instances whose images are not kept here any more.")


class PatientOut(_Schema):
    """One patient whom images of the study are of."""

    patient_id: str
    issuer_of_patient_id: str
    image_count: int


class StudyDetailOut(_Schema):
    """All of one study: versions newest first, events oldest first."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [DETAIL_EXAMPLE]})

    row: StudyOut = Field(serialization_alias="summary")
    patients: list[PatientOut] = Field(description="More than one: refused as two_patients until it is corrected.")
    series: list[SeriesOut]
    versions: list[VersionOut]
    events: list[EventOut]


class CompletionOut(BaseModel):
    """The request is kept; the dispatcher completes the study at its next turn."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"study_instance_uid": "1.2.826.0.1.3680043.8.498.1", "asked": True}]}
    )

    study_instance_uid: str
    asked: Literal[True] = True


class AnalysisOut(CompletionOut):
    """The request is kept; the dispatcher queues the jobs at its next turn."""


class CheckOut(BaseModel):
    """One thing that must hold; `cause` says why it does not, and what to do.

    essential: without it this process is not ready; the others hold studies up, and nothing is lost.
    """

    name: str
    ok: bool
    essential: bool = False
    cause: str | None = None


class ReadinessOut(BaseModel):
    """Whether this process can do its work now."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ready": True,
                    "checks": [
                        {"name": "store", "ok": True, "essential": True, "cause": None},
                        {
                            "name": "data_folder",
                            "ok": False,
                            "essential": False,
                            "cause": "120 MB free, 512 MB needed: senders are refused until some space is freed",
                        },
                    ],
                }
            ]
        }
    )

    ready: bool
    checks: list[CheckOut]
