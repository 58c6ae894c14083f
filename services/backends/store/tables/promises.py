"""Storage Commitment that others ask of us (PS3.4 annex J)."""

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Text, UniqueConstraint

from services.backends.store.columns import AsJson, UtcTime, Words
from services.backends.store.tables.base import UID, WORD, metadata

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
