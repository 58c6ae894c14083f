"""Answered studies, replayed to learners."""

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Integer, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import HEX, UID, WORD, metadata, of_study

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
    of_study(),
    Column("result_id", WORD, ForeignKey("result.result_id"), nullable=False),
    Column("kind", WORD, nullable=False),
    Column("truth", WORD, nullable=False),
    Column("answer", WORD),
    Column("confidence", WORD),
    Column("answered_at", UtcTime),
)

# Whether the images of a result may be shown to learners: '', or the code of why not (`triage.training.exclusion`).
# rules: by which that was found (`triage.training.RULES`).
training_check = sa.Table(
    "training_check",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    Column("exclusion", WORD, nullable=False),
    Column("rules", Integer, nullable=False, server_default="0"),
)
