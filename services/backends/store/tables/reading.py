"""What readers did and answered."""

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text

from services.backends.store.columns import AsJson, UtcTime, Words
from services.backends.store.tables.base import HEX, PERSON, SERIAL, UID, WORD, metadata, of_study
from services.triage.verdict import MarkedLesion, OwnAssessment, Shown

# What a reader answered to the AI (`triage.verdict.Verdict`); append-only.
verdict = sa.Table(
    "verdict",
    metadata,
    Column("verdict_id", WORD, primary_key=True),
    of_study(),
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
    Column("id", SERIAL, primary_key=True),
    of_study(),
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
    of_study(),
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
    of_study(),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("ended_how", WORD),
    Column("ended_by", Words, nullable=False, server_default=""),
    Index(None, "study_instance_uid"),
    Index(None, "ended_at", "until"),
)
