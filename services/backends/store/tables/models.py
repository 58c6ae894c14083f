"""What was decided about models."""

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Float, Index, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import SERIAL, WORD, metadata, scope

# Who switched a model off or on (`triage.switch.Switch`); append-only. What of it is off now stands in model_off.
model_switch = sa.Table(
    "model_switch",
    metadata,
    Column("id", SERIAL, primary_key=True),
    *scope(),
    Column("is_on", Boolean, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("kept", WORD),
)

model_off = sa.Table(
    "model_off",
    metadata,
    *scope(primary_key=True),
    Column("since", UtcTime, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

# What was decided about the versions of a model (`triage.rollout.Decision`); append-only. Its last row is in force.
model_rollout = sa.Table(
    "model_rollout",
    metadata,
    Column("id", SERIAL, primary_key=True),
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
    *scope(),
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
