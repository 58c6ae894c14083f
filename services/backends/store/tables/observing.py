"""What the observatory reads and has found."""

import sqlalchemy as sa
from sqlalchemy import Column, Float, ForeignKey, Integer, Text

from services.backends.store.columns import UtcTime, Words
from services.backends.store.tables.base import WORD, metadata

# Whom and what a result is of, for the observatory, as of its freezing. A result from before revision 0017 has none
# until the observatory looks.
result_traits = sa.Table(
    "result_traits",
    metadata,
    Column("result_id", WORD, ForeignKey("result.result_id"), primary_key=True),
    Column("sex", Words, nullable=False),
    Column("age_years", Integer),
    Column("manufacturer", Words, nullable=False),
    Column("manufacturer_model_name", Words, nullable=False),
    Column("convolution_kernel", Words, nullable=False),
    Column("slice_thickness_mm", Float),
)

# What the observatory found last of a model version, as JSON (`observatory.figures.Figures`).
observation = sa.Table(
    "observation",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_version", Text, primary_key=True),
    Column("computed_at", UtcTime, nullable=False),
    Column("figures", Text, nullable=False),
)

# One row: when the observatory is to look again, whichever process does.
observing = sa.Table(
    "observing",
    metadata,
    Column("turn", WORD, primary_key=True),
    Column("next_at", UtcTime, nullable=False),
)
