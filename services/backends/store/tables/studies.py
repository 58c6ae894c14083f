"""Studies, what is kept of them, and their versions."""

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Text, UniqueConstraint

from services.backends.store.columns import AsJson, UtcTime, Words
from services.backends.store.tables.base import HEX, PATIENT_ID, SERIAL, UID, WORD, metadata, of_study
from services.triage.study import InstanceHeader, StudyAttributes
from services.triage.tenant import NO_TENANT

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
    Column("id", SERIAL, primary_key=True),
    of_study(),
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

# subject: "study" or "version", or the id of a job or a delivery.
event = sa.Table(
    "event",
    metadata,
    Column("id", SERIAL, primary_key=True),
    of_study(),
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
