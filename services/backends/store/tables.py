"""The tables. A change here needs a revision in `migrations/versions`; a test finds the drift.

The study row is the lock of everything below it: whoever changes a study takes it first (`engine.locked`).
`board` is a projection of the rest, rebuilt for a study by `summary.refresh` in the same transaction.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint

from services.backends.store.columns import AsJson, UtcTime, Words
from services.triage.errors import Reason
from services.triage.inference import Inference
from services.triage.job import JobPlan
from services.triage.lesion import Lesion
from services.triage.patient import MAX_ID_CHARACTERS
from services.triage.result import ObjectKind
from services.triage.study import InstanceHeader, StudyAttributes
from services.triage.tenant import NO_TENANT
from services.triage.uncertainty import Uncertainty
from services.triage.verdict import MarkedLesion, OwnAssessment, Shown

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = String(64)
HEX = String(64)
WORD = String(32)
PATIENT_ID = String(MAX_ID_CHARACTERS)
PERSON = String(200)
_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER PRIMARY KEY
_AUDIT_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


def _scope(*, primary_key: bool = False) -> tuple[Column[str], ...]:
    """Of `triage.switch.ModelScope`; EVERY stands for every version, or every tenant."""
    names = ("model_name", "model_version", "tenant")
    return tuple(Column(name, Words, nullable=False, primary_key=primary_key) for name in names)


def _study() -> Column[str]:
    return Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), nullable=False)


# One row: the oldest revision whose program can work on these tables. A migration that breaks older programs raises it.
compatibility = sa.Table("compatibility", metadata, Column("oldest_revision", String(32), primary_key=True))

# What is new since revision 0005 has a server default or may be NULL: writers of an earlier one leave it out.
# The attributes are those of the newest image (before the first image: of the first instance). name_index:
# `person_name.index_of` of the patient's name; NULL from a writer before revision 0011. tenant: '' from a writer before
# revision 0010, and where there are no tenants. tenant_issuer: of each PatientID that comes without one.
# images_deleted_at: since when none of its images is kept here; NULL: some are.
study = sa.Table(
    "study",
    metadata,
    Column("study_instance_uid", UID, primary_key=True),
    *(
        Column(name, Words, nullable=False)
        for name in (
            "patient_id",
            "patient_name",
            "patient_birth_date",
            "patient_sex",
            "patient_age",
            "study_date",
            "study_time",
            "study_description",
            "study_id",
            "accession_number",
        )
    ),
    Column("issuer_of_patient_id", Words, nullable=False, server_default=""),
    Column("name_index", Text),
    Column("tenant", Words, nullable=False, server_default=NO_TENANT),
    Column("tenant_issuer", Words, nullable=False, server_default=""),
    Column("received_at", UtcTime, nullable=False),
    Column("images_deleted_at", UtcTime),
    Index(None, "study_instance_uid", "tenant"),
    Index(None, "images_deleted_at", "received_at"),
)

# One row per content: two digests under one SOP Instance UID are two rows. `since_version`: the first version that
# holds it; an instance that opens nothing belongs to the next version, should there be one. attributes: what this
# instance itself tells of patient and study; NULL from a writer before revision 0005. reconciled: the same under the
# patient data that hold by HL7 ADT; NULL where they are its own. deleted_at: its file is not kept here since then.
# came_again_at: when it was last sent again after that, or while it was deleted. size_bytes: of its file; NULL from a
# writer before revision 0024.
instance = sa.Table(
    "instance",
    metadata,
    Column("id", _SERIAL, primary_key=True),
    _study(),
    Column("series_instance_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("digest", HEX, nullable=False),
    Column("header", AsJson(InstanceHeader), nullable=False),
    Column("attributes", AsJson(StudyAttributes)),
    Column("reconciled", AsJson(StudyAttributes)),
    Column("since_version", Integer, nullable=False),
    Column("received_from", Words, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("size_bytes", BigInteger),
    Column("deleted_at", UtcTime),
    Column("came_again_at", UtcTime),
    UniqueConstraint("sop_instance_uid", "digest"),
    Index(None, "study_instance_uid", "since_version"),
)

# Which patients the instances of a study name, in their own words, so that an ADT message finds them.
study_patient = sa.Table(
    "study_patient",
    metadata,
    Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("patient_id", PATIENT_ID, primary_key=True),
    Column("issuer", PATIENT_ID, primary_key=True),
    Index(None, "patient_id"),
)

# What ADT messages have said of an ID (`triage.patient.Patient`); NULL: nothing. merged_at, merged_by: also of a merge
# that was undone.
patient = sa.Table(
    "patient",
    metadata,
    Column("patient_id", PATIENT_ID, primary_key=True),
    Column("issuer", PATIENT_ID, primary_key=True),
    Column("patient_name", Words),
    Column("patient_birth_date", Words),
    Column("patient_sex", Words),
    Column("told_at", UtcTime),
    Column("told_by", Words),
    Column("merged_into_id", PATIENT_ID),
    Column("merged_into_issuer", PATIENT_ID),
    Column("merged_at", UtcTime),
    Column("merged_by", Words),
    Index(None, "merged_into_id"),
)

# ADT messages by what became of them, for the metrics.
adt_count = sa.Table(
    "adt_count",
    metadata,
    Column("trigger_event", WORD, primary_key=True),
    Column("outcome", WORD, primary_key=True),
    Column("messages", BigInteger, nullable=False),
)

# images_since: the first version with the same images, pixels and routing; what changed since is only whose they are.
# NULL from a writer before revision 0005: this one. rerun: a person asked for it, so that models look once more.
# completed_on: the code of what told that it is complete; NULL: the quiet period, or a person. priority_from: what gave
# the priority (`triage.routing.order_priority`), NULL from a writer before revision 0014. traceparent: see `traces`.
study_version = sa.Table(
    "study_version",
    metadata,
    Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", WORD, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    Column("last_image_at", UtcTime, nullable=False),
    Column("completion_asked", Boolean, nullable=False, default=False),
    Column("completed_at", UtcTime),
    Column("priority", Integer),
    Column("out_of_scope_code", Text),
    Column("out_of_scope_text", Text),
    Column("images_since", Integer),
    Column("rerun", Boolean, nullable=False, server_default=sa.false()),
    Column("completed_on", WORD),
    Column("priority_from", Text),
    Column("traceparent", Text),
    Index(None, "state", "last_image_at"),
)

# What a PACS was asked about a receiving version, as of its last image: once another came, it is asked anew.
# asked: how often since then. outcome, text: the newest answer. next_at: when to ask again; NULL: never.
inquiry = sa.Table(
    "inquiry",
    metadata,
    Column("study_instance_uid", UID, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("as_of", UtcTime, nullable=False),
    Column("asked", Integer, nullable=False, default=0),
    Column("outcome", WORD),
    Column("text", Text),
    Column("next_at", UtcTime),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
    sa.ForeignKeyConstraint(
        ["study_instance_uid", "number"], ["study_version.study_instance_uid", "study_version.number"]
    ),
)

# One MPPS or IAN, for one study that it names, which need not be here yet. state: Performed Procedure Step Status
# (0040,0252), or ONLINE. instances: the SOP Instance UIDs that it names.
announcement = sa.Table(
    "announcement",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("study_instance_uid", UID, primary_key=True, index=True),
    Column("announcer", WORD, nullable=False),
    Column("state", WORD, nullable=False),
    Column("instances", AsJson(tuple[str, ...]), nullable=False),
    Column("received_from", Words, nullable=False),
    Column("received_at", UtcTime, nullable=False, index=True),
)

# What a PACS has and Vigie has not. One row per PACS: who looks now, and what came of the last time. day: the local
# date of the last daily one. missing, incomplete: studies; fetched: of these.
reconciliation = sa.Table(
    "reconciliation",
    metadata,
    Column("pacs", Text, primary_key=True),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
    Column("day", WORD),
    Column("finished_at", UtcTime),
    Column("studies", Integer, nullable=False, default=0),
    Column("missing", Integer, nullable=False, default=0),
    Column("incomplete", Integer, nullable=False, default=0),
    Column("fetched", Integer, nullable=False, default=0),
)

# outbox: a message is owed to the queue. token: grows with each lease. attempt: leases so far. not_before: a postponed
# job is put back into the outbox by `reissue` at this time. rank: `triage.job.rank`; 0 from a writer of revision 0001.
# reconciles: the result that the job writes again, NULL where it analyses (no foreign key: a result refers to its job).
# model_version: which version looks, as of the last lease; NULL: the catalogue's standing one.
job = sa.Table(
    "job",
    metadata,
    Column("job_id", WORD, primary_key=True),
    _study(),
    Column("version", Integer, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("plan", AsJson(JobPlan), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", WORD, nullable=False),
    Column("queued_at", UtcTime, nullable=False),
    Column("outbox", Boolean, nullable=False),
    Column("not_before", UtcTime),
    Column("attempt", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),
    Column("worker", Text),
    Column("lease_expires_at", UtcTime),
    Column("rank", Float, nullable=False, server_default="0"),
    Column("traceparent", Text),
    Column("reconciles", WORD),
    Column("model_version", Text),
    sa.ForeignKeyConstraint(
        ["study_instance_uid", "version"], ["study_version.study_instance_uid", "study_version.number"]
    ),
    Index(None, "study_instance_uid", "version"),
    Index(None, "state", "rank"),
    Index(None, "state", "outbox", "priority", "queued_at"),
)

result = sa.Table(
    "result",
    metadata,
    Column("result_id", WORD, primary_key=True),
    Column("job_id", WORD, ForeignKey("job.job_id"), nullable=False, unique=True),
    _study(),
    Column("version", Integer, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("weights_sha256", Text, nullable=False),
    Column("series_instance_uid", UID),
    Column("outcome", WORD, nullable=False),
    Column("flag", WORD, nullable=False),
    Column("score", Float),
    Column("calibrated", Boolean, nullable=False),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("lesions", AsJson(tuple[Lesion, ...]), nullable=False),
    Column("timings_s", AsJson(dict[str, float]), nullable=False),
    Column("peak_memory_mb", Float),
    Column("frozen_at", UtcTime, nullable=False, index=True),
    Column("energy_j", Float),
    Column("energy_source", WORD),
    Column("traceparent", Text),
    Column("cautions", AsJson(tuple[Reason, ...])),
    Column("uncertainty", AsJson(Uncertainty)),
    Column("inference", AsJson(Inference)),
    Index(None, "study_instance_uid", "version"),
    Index(None, "model_name", "frozen_at"),
)

# What another version of the model says of what a result answers (`triage.shadow`). token, attempt: as a job's.
# dice, lesions_...: `triage.shadow.Overlap`; the three counts are NULL where there is none.
shadow_run = sa.Table(
    "shadow_run",
    metadata,
    Column("shadow_id", WORD, primary_key=True),
    _study(),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False),
    Column("model_name", Words, nullable=False),
    Column("model_version", Words, nullable=False),
    Column("state", WORD, nullable=False),
    Column("owed_at", UtcTime, nullable=False),
    Column("not_before", UtcTime),
    Column("attempt", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),
    Column("worker", Text),
    Column("lease_expires_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("weights_sha256", Text),
    Column("outcome", WORD),
    Column("flag", WORD),
    Column("score", Float),
    Column("reason_code", Text),
    Column("lesions", Integer),
    Column("timings_s", AsJson(dict[str, float])),
    Column("peak_memory_mb", Float),
    Column("energy_j", Float),
    Column("energy_source", WORD),
    Column("dice", Float),
    Column("lesions_both", Integer),
    Column("lesions_answer_only", Integer),
    Column("lesions_shadow_only", Integer),
    UniqueConstraint("result_id", "model_version"),
    Index(None, "study_instance_uid"),
    Index(None, "state", "owed_at"),
    Index(None, "model_name", "owed_at"),
)

# Whom and what a result is of, for the observatory, as of its freezing. A result from before revision 0017 has none
# until the observatory looks.
result_traits = sa.Table(
    "result_traits",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    Column("sex", Words, nullable=False),
    Column("age_years", Integer),
    Column("manufacturer", Words, nullable=False),
    Column("manufacturer_model_name", Words, nullable=False),
    Column("convolution_kernel", Words, nullable=False),
    Column("slice_thickness_mm", Float),
)

# What the observatory found last of a model version, as JSON (`observatory.figures.Figures`).
observation = sa.Table(
    "observation",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_version", Text, primary_key=True),
    Column("computed_at", UtcTime, nullable=False),
    Column("figures", Text, nullable=False),
)

# One row: when the observatory is to look again, whichever process does.
observing = sa.Table(
    "observing",
    metadata,
    Column("turn", WORD, primary_key=True),
    Column("next_at", UtcTime, nullable=False),
)

recall = sa.Table(
    "recall",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    _study(),
    Column("recalled_at", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

# note: the rejection note of a recalled result, which has deliveries of its own. names: the kind of Segmentation that a
# report refers to.
result_object = sa.Table(
    "result_object",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("modality", WORD, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("sha256", HEX, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("names", WORD),
    Column("note", Boolean, nullable=False, server_default=sa.false()),
)

# A result on its way to a destination, or in a notification to a receiver (kind: a `ReceiverKind`; no objects).
# attempt: tries so far. claim: of the process that sends it now. note: the result is taken back: its rejection note is
# sent, or its withdrawal told.
# The address is the one at freezing, for the record; the sender uses today's.
# objects: the kinds that go (from a writer of revision 0003: null, and all do). transaction_uid: the Storage Commitment
# transaction asked in since the last sending. requests: how many there were. uncommitted: SOP Instance UIDs; null: all.
# taken: SOP Instance UIDs that the destination took in tries that ended halfway, since it last became pending.
# verdict_document: what goes is that document, and no result (result_id is NULL).
delivery = sa.Table(
    "delivery",
    metadata,
    Column("delivery_id", WORD, primary_key=True),
    Column("result_id", WORD, ForeignKey("result.result_id")),
    _study(),
    Column("destination", Text, nullable=False),
    Column("kind", WORD, nullable=False),
    Column("address", Text, nullable=False),
    Column("state", WORD, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("created_at", UtcTime, nullable=False),
    Column("next_at", UtcTime),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("objects", AsJson(tuple[ObjectKind, ...])),
    Column("transaction_uid", UID),
    Column("requests", Integer, nullable=False, server_default="0"),
    Column("uncommitted", AsJson(tuple[str, ...])),
    Column("taken", AsJson(tuple[str, ...])),
    Column("note", Boolean, nullable=False, server_default=sa.false()),
    Column("verdict_document", UID, ForeignKey("verdict_document.sop_instance_uid")),
    UniqueConstraint("result_id", "destination", "note"),
    UniqueConstraint("verdict_document", "destination"),
    Index(None, "destination", "state", "next_at"),
    Index(None, "study_instance_uid", "destination", "created_at"),
)

# A Storage Commitment transaction (PS3.4 annex J); instances: the SOP Instance UIDs asked for.
commitment = sa.Table(
    "commitment",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("delivery_id", WORD, ForeignKey("delivery.delivery_id"), nullable=False, index=True),
    Column("instances", AsJson(tuple[str, ...]), nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("answered_at", UtcTime),
)

# The task to review a result, a Unified Procedure Step (PS3.4 annex CC). transaction_uid: of whoever claimed it.
# replaces: the workitem that this one takes the place of. told: what others set, in the DICOM JSON Model.
# canceled_at, cancel_reason: by us, or as whoever asked for it gave it. Its place in the list is that of the board.
workitem = sa.Table(
    "workitem",
    metadata,
    Column("workitem_uid", UID, primary_key=True),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False, unique=True),
    _study(),
    Column("state", WORD, nullable=False),
    Column("transaction_uid", UID),
    Column("replaces", UID),
    Column("told", AsJson(dict[str, Any]), nullable=False),
    Column("scheduled_at", UtcTime, nullable=False),
    Column("modified_at", UtcTime, nullable=False),
    Column("canceled_at", UtcTime),
    Column("cancel_reason", Words),
    Index(None, "study_instance_uid"),
    Index(None, "state"),
)

# What a reader answered to the AI (`triage.verdict.Verdict`); append-only.
verdict = sa.Table(
    "verdict",
    metadata,
    Column("verdict_id", WORD, primary_key=True),
    _study(),
    Column("result_id", WORD, ForeignKey("result.result_id")),
    Column("tracking_uid", UID),
    Column("answer", WORD, nullable=False),
    Column("reason", WORD),
    Column("comment", Words, nullable=False),
    Column("lesion", AsJson(MarkedLesion)),
    Column("reader", Words, nullable=False),
    Column("given_at", UtcTime, nullable=False, index=True),
    Column("shown", AsJson(Shown), nullable=False),
    Column("undoes", WORD, ForeignKey("verdict.verdict_id"), unique=True),
    Column("assessment", AsJson(OwnAssessment)),
    Index(None, "study_instance_uid"),
)

# Who took, released, read and opened again which study (`triage.reading.ReadingStep`); append-only.
assignment = sa.Table(
    "assignment",
    metadata,
    Column("id", _SERIAL, primary_key=True),
    _study(),
    Column("action", WORD, nullable=False),
    Column("reader", Words, nullable=False),
    Column("at", UtcTime, nullable=False),
    Index(None, "study_instance_uid"),
)

# A filter of the work list by name: its query string. owner: who keeps it; shared: everybody sees it.
saved_view = sa.Table(
    "saved_view",
    metadata,
    Column("owner", PERSON, primary_key=True),
    Column("name", PERSON, primary_key=True),
    Column("query", Text, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("saved_at", UtcTime, nullable=False),
)

# A reader's verdicts on a study as a DICOM document, frozen once (`triage.verdict_document`). verdicts: how many of the
# reader's rows were there when it was written; the newest document of a reader is the one with most.
verdict_document = sa.Table(
    "verdict_document",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    _study(),
    Column("reader", Words, nullable=False),
    Column("verdicts", Integer, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("sha256", HEX, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index(None, "study_instance_uid"),
)

# Readers whose newest verdicts on a study are in no document yet. done_at: they said that they have finished.
# authenticated: whoever said so had shown who they are.
verdict_document_owed = sa.Table(
    "verdict_document_owed",
    metadata,
    Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("reader", Words, primary_key=True),
    Column("last_given_at", UtcTime, nullable=False, index=True),
    Column("done_at", UtcTime),
    Column("authenticated", Boolean, nullable=False, server_default=sa.false()),
)

# A result that is withheld until a reader has assessed the study (`triage.blind.Hold`); once ended it never changes.
# Who runs since before revision 0016 knows of none, and shows and sends what this withholds: upgrade all of them first.
blind_hold = sa.Table(
    "blind_hold",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    _study(),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("ended_how", WORD),
    Column("ended_by", Words, nullable=False, server_default=""),
    Index(None, "study_instance_uid"),
    Index(None, "ended_at", "until"),
)

# What a learner picked for training. key: of the UIDs that stand for the real ones.
training_round = sa.Table(
    "training_round",
    metadata,
    Column("round_id", WORD, primary_key=True),
    Column("learner", Words, nullable=False, index=True),
    Column("model_name", Text, nullable=False),
    Column("mix", WORD, nullable=False),
    Column("key", HEX, nullable=False),
    Column("created_at", UtcTime, nullable=False),
)

# A study of a round. name: the Study Instance UID that the learner sees. truth: the readers' when the round began.
training_case = sa.Table(
    "training_case",
    metadata,
    Column("round_id", WORD, ForeignKey("training_round.round_id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", UID, nullable=False, unique=True),
    _study(),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False),
    Column("kind", WORD, nullable=False),
    Column("truth", WORD, nullable=False),
    Column("answer", WORD),
    Column("confidence", WORD),
    Column("answered_at", UtcTime),
)

# Whether the images of a result may be shown to learners: '', or the code of why not (`triage.training.exclusion`).
training_check = sa.Table(
    "training_check",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    Column("exclusion", WORD, nullable=False),
)

# Who switched a model off or on (`triage.switch.Switch`); append-only. What of it is off now stands in model_off.
model_switch = sa.Table(
    "model_switch",
    metadata,
    Column("id", _SERIAL, primary_key=True),
    *_scope(),
    Column("is_on", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("kept", WORD),
)

model_off = sa.Table(
    "model_off",
    metadata,
    *_scope(primary_key=True),
    Column("since", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

# What was decided about the versions of a model (`triage.rollout.Decision`); append-only. Its last row is in force.
model_rollout = sa.Table(
    "model_rollout",
    metadata,
    Column("id", _SERIAL, primary_key=True),
    Column("model_name", Words, nullable=False),
    Column("step", WORD, nullable=False),
    Column("active", Words),
    Column("canary", Words),
    Column("canary_share", Float),
    Column("shadow", Words),
    Column("at", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Index(None, "model_name", "id"),
)

# The recall of a period (`triage.switch.Campaign`). claim: of the process that goes on with it.
recall_campaign = sa.Table(
    "recall_campaign",
    metadata,
    Column("campaign_id", WORD, primary_key=True),
    *_scope(),
    Column("frozen_since", UtcTime),
    Column("frozen_until", UtcTime, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime, index=True),
    Column("trouble", Text, nullable=False),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
)

# Made once and shared by all processes: what signs sessions, what pseudonyms are made by.
kept_secret = sa.Table(
    "kept_secret", metadata, Column("name", WORD, primary_key=True), Column("value", Text, nullable=False)
)

# Sessions that somebody ended before their time. forget_at: when they would have ended by themselves.
ended_session = sa.Table(
    "ended_session",
    metadata,
    Column("session_id", WORD, primary_key=True),
    Column("forget_at", UtcTime, nullable=False),
)

# Who signed in at the identity provider, by session: as its claims had them then. id_token: for signing out there.
signed_in = sa.Table(
    "signed_in",
    metadata,
    Column("session_id", WORD, primary_key=True),
    Column("name", PERSON, nullable=False),
    Column("display_name", Words, nullable=False),
    Column("roles", Words, nullable=False),
    Column("tenants", Words, nullable=False),
    Column("id_token", Text, nullable=False),
    Column("settings_digest", HEX, nullable=False),
    Column("forget_at", UtcTime, nullable=False, index=True),
)

# Whose a name from the identity provider is, for good: histories hold it. subject: the issuer's word for a person.
provider_name = sa.Table(
    "provider_name",
    metadata,
    Column("name", PERSON, primary_key=True),
    Column("issuer", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("since", UtcTime, nullable=False),
)

# A request for Storage Commitment that an AE has made to us. attempt: failed tries of what its state waits for.
commitment_request = sa.Table(
    "commitment_request",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("calling_ae_title", Words, nullable=False),
    Column("state", WORD, nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("decided_at", UtcTime),
    Column("attempt", Integer, nullable=False, default=0),
    Column("next_at", UtcTime),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Index(None, "calling_ae_title", "state", "next_at"),
)

# failure_reason: of a decided one: NULL is committed; of an undecided one: what the archive said last.
requested_instance = sa.Table(
    "requested_instance",
    metadata,
    Column("transaction_uid", UID, ForeignKey("commitment_request.transaction_uid"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False, index=True),
    Column("decided", Boolean, nullable=False),
    Column("failure_reason", Integer),
)

# A transaction of ours, in which the archive was asked for the instances of such a request. number: counts them.
# retry_at: what the archive does not commit is not asked for again before.
archive_inquiry = sa.Table(
    "archive_inquiry",
    metadata,
    Column("transaction_uid", UID, primary_key=True),
    Column("request_uid", UID, ForeignKey("commitment_request.transaction_uid"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("instances", AsJson(tuple[str, ...]), nullable=False),
    Column("asked_at", UtcTime, nullable=False),
    Column("answered_at", UtcTime),
    Column("retry_at", UtcTime, nullable=False),
    UniqueConstraint("request_uid", "number"),
)

# subject: "study" or "version", or the id of a job or a delivery.
event = sa.Table(
    "event",
    metadata,
    Column("id", _SERIAL, primary_key=True),
    _study(),
    Column("kind", WORD, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("what", Text, nullable=False),
    Column("cause", Words, nullable=False),
    Index(None, "study_instance_uid"),
)

# urgency: the AI's flag as a rank; 0 urgent, 1 elevated, 2 everything else, also what was not analysed or failed.
# already_reported: an earlier result of the same images was delivered, and the urgency is that result's.
# flagged_at: when the result was frozen that the urgency is of; first_image_at, last_image_at: of the version it is of.
# rank: `triage.reading.rank`; 0, after STAT and before the rest, from a writer before revision 0014, who also leaves
# out what follows. ai_says: `board.AiSays`; model_name: of that result. is_read, reader, reader_since, read_again:
# `triage.reading.Reading`, for filters that are indexed.
board = sa.Table(
    "board",
    metadata,
    Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("state", WORD, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("already_reported", Boolean, nullable=False, server_default=sa.false()),
    Column("received_at", UtcTime, nullable=False),
    Column("last_instance_at", UtcTime, nullable=False),
    Column("version", Integer, nullable=False),
    Column("modalities", AsJson(tuple[str, ...]), nullable=False),
    Column("series_count", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("completed_at", UtcTime),
    Column("reason_code", Text),
    Column("reason_text", Text),
    Column("result_id", WORD, ForeignKey("result.result_id")),
    Column("flagged_at", UtcTime, index=True),
    Column("first_image_at", UtcTime),
    Column("last_image_at", UtcTime),
    Column("rank", Float, nullable=False, server_default="0"),
    Column("ai_says", WORD),
    Column("model_name", Text),
    Column("is_read", Boolean, nullable=False, server_default=sa.false()),
    Column("reader", Words),
    Column("reader_since", UtcTime),
    Column("read_again", WORD),
    Index(None, "rank", "study_instance_uid", "state", "modalities"),
    Index(None, "is_read", "rank", "study_instance_uid", "state", "modalities"),
    Index(None, "is_read", "ai_says", "rank", "study_instance_uid"),
    Index(None, "is_read", "state", "rank", "study_instance_uid"),
    Index(None, "reader", "is_read", "rank", "study_instance_uid"),
    Index(None, "model_name", "is_read", "rank", "study_instance_uid"),
    Index("ix_board_waiting", "is_read", "state", "ai_says", "priority"),
)

# document: the event as JSON; digest: SHA-256 of the previous record's and of it. Rows are only ever added.
audit_record = sa.Table(
    "audit_record",
    metadata,
    Column("sequence", _AUDIT_SEQUENCE, primary_key=True, autoincrement=False),
    Column("recorded_at", UtcTime, nullable=False, index=True),
    Column("document", Text, nullable=False),
    Column("digest", HEX, nullable=False),
    # what records are searched by, drawn from the document
    Column("type", WORD),
    Column("asked_by", Words),
    Column("study_instance_uid", UID),
    Column("patient", HEX),
    Column("event_key", HEX),
    Index(None, "asked_by", "sequence"),
    Index(None, "study_instance_uid", "sequence"),
    Index(None, "patient", "sequence"),
    Index(None, "event_key", unique=True),
)

# Where the trail was shortened: the last record that was taken away each time. Triggers let no others be deleted.
audit_pruned = sa.Table(
    "audit_pruned",
    metadata,
    Column("sequence", _AUDIT_SEQUENCE, primary_key=True, autoincrement=False),
    Column("digest", HEX, nullable=False),
    Column("pruned_at", UtcTime, nullable=False),
)

# How far each receiver of the trail has come; one process at a time sends to it.
audit_feed = sa.Table(
    "audit_feed",
    metadata,
    Column("name", WORD, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("told_at", UtcTime, nullable=False),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
)

# Files that are to go; the row goes when they have gone. whole: all of the study, its row and this one among it; else
# its images that are marked so (`instance.deleted_at`), but for files that came after not_newer_than.
deletion = sa.Table(
    "deletion",
    metadata,
    Column("study_instance_uid", UID, ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("whole", Boolean, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("not_newer_than", UtcTime),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

# One row: who deletes, or copies, files now; when retention is to look again; what it found last
# (`triage.retention.RetentionReport`, as JSON); what it deleted ever.
retention = sa.Table(
    "retention",
    metadata,
    Column("turn", WORD, primary_key=True),
    Column("next_at", UtcTime, nullable=False),
    Column("claim", WORD),
    Column("claim_expires_at", UtcTime),
    Column("report", Text),
    Column("deleted_studies", BigInteger, nullable=False),
    Column("deleted_bytes", BigInteger, nullable=False),
)

# One row: where the search for lost instances is, whichever process does it. after_id: in `instance`. checked, read:
# files looked for, and read to the last byte, ever.
scrub = sa.Table(
    "scrub",
    metadata,
    Column("turn", WORD, primary_key=True),
    Column("next_at", UtcTime, nullable=False),
    Column("after_id", BigInteger, nullable=False),
    Column("checked", BigInteger, nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("round_finished_at", UtcTime),
)

# An instance that was acknowledged and whose file is missing or damaged, until it is found again.
lost_file = sa.Table(
    "lost_file",
    metadata,
    Column("digest", HEX, primary_key=True),
    Column("study_instance_uid", UID, nullable=False),
    Column("sop_instance_uid", UID, nullable=False),
    Column("fault", WORD, nullable=False),
    Column("found_at", UtcTime, nullable=False),
)

# reason: `services.gateway.refusals.RefusedFor`
caller_refusal = sa.Table(
    "caller_refusal",
    metadata,
    Column("reason", WORD, primary_key=True),
    Column("total", sa.BigInteger().with_variant(Integer, "sqlite"), nullable=False),
)
