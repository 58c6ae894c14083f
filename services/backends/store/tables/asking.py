"""What is asked of a PACS about studies, and what others announce of them."""

import sqlalchemy as sa
from sqlalchemy import Column, Integer, Text

from services.backends.store.columns import AsJson, UtcTime, Words
from services.backends.store.tables.base import UID, WORD, metadata

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
