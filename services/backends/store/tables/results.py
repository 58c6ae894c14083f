"""Jobs, what models answered, and its objects."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Text, UniqueConstraint

from services.backends.store.columns import AsJson, UtcTime, Words
from services.backends.store.tables.base import HEX, UID, WORD, metadata, of_study
from services.triage.errors import Reason
from services.triage.inference import Inference
from services.triage.job import JobPlan
from services.triage.lesion import Lesion
from services.triage.organ import Organ
from services.triage.uncertainty import Uncertainty

# outbox: a message is owed to the queue. token: grows with each lease. attempt: leases so far but for those that a stop
# ended. not_before: a postponed job is put back into the outbox by `reissue` at this time. rank: `triage.job.rank`; 0
# from a writer of revision 0001. reconciles: the result that the job writes again, NULL where it analyses (no foreign
# key: a result refers to its job).
# model_version: which version looks, as of the last lease; NULL: the catalogue's standing one.
job = sa.Table(
    "job",
    metadata,
    Column("job_id", WORD, primary_key=True),
    of_study(),
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
    of_study(),
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
    Column("organs", AsJson(tuple[Organ, ...])),
    Index(None, "study_instance_uid", "version"),
    Index(None, "model_name", "frozen_at"),
)

# What another version of the model says of what a result answers (`triage.shadow`). token, attempt: as a job's.
# dice, lesions_...: `triage.shadow.Overlap`; the three counts are NULL where there is none.
shadow_run = sa.Table(
    "shadow_run",
    metadata,
    Column("shadow_id", WORD, primary_key=True),
    of_study(),
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
    Column("inference", AsJson(Inference)),
    UniqueConstraint("result_id", "model_version"),
    Index(None, "study_instance_uid"),
    Index(None, "state", "owed_at"),
    Index(None, "model_name", "owed_at"),
)

recall = sa.Table(
    "recall",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    of_study(),
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

# The task to review a result, a Unified Procedure Step (PS3.4 annex CC). transaction_uid: of whoever claimed it.
# replaces: the workitem that this one takes the place of. told: what others set, in the DICOM JSON Model.
# canceled_at, cancel_reason: by us, or as whoever asked for it gave it. Its place in the list is that of the board.
workitem = sa.Table(
    "workitem",
    metadata,
    Column("workitem_uid", UID, primary_key=True),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False, unique=True),
    of_study(),
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
