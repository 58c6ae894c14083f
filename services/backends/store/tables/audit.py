"""The audit trail."""

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import HEX, SERIAL, UID, WORD, metadata

# document: the event as JSON; digest: SHA-256 of the previous record's and of it. Rows are only ever added.
audit_record = sa.Table(
    "audit_record",
    metadata,
    Column("sequence", SERIAL, primary_key=True, autoincrement=False),
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
    Column("sequence", SERIAL, primary_key=True, autoincrement=False),
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
