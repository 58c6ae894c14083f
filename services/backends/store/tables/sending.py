"""What is on its way out, and what archives have promised of it."""

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Text, UniqueConstraint

from services.backends.store.columns import AsJson, UtcTime
from services.backends.store.tables.base import UID, WORD, metadata, of_study
from services.triage.result import ObjectKind

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
    of_study(),
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
