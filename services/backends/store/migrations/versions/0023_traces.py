"""Traces of study versions and of results; where instances are looked for, and what was not found.

Older processes run on beside it: what they write has no trace of its own, and takes that of its version or of its job.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Columns that may be NULL, and tables of their own."""
    op.add_column("study_version", sa.Column("traceparent", sa.Text(), nullable=True))
    op.add_column("result", sa.Column("traceparent", sa.Text(), nullable=True))
    op.create_table(
        "scrub",
        sa.Column("turn", sa.String(length=32), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("after_id", sa.BigInteger(), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("round_finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("turn", name="pk_scrub"),
    )
    op.create_table(
        "lost_file",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("fault", sa.String(length=32), nullable=False),
        sa.Column("found_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_lost_file"),
    )


def downgrade() -> None:
    """Without it: studies on their way begin a new trace, and nobody looks for lost files."""
    op.drop_table("lost_file")
    op.drop_table("scrub")
    for table in ("result", "study_version"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("traceparent")
