"""Files that go, are lost, or are looked for."""

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import HEX, UID, WORD, metadata

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
