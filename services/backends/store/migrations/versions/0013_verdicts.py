"""What readers answer to the AI.

Older processes run on beside it: they know nothing of verdicts.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own."""
    op.create_table(
        "verdict",
        sa.Column("verdict_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("result_id", sa.String(length=32), nullable=True),
        sa.Column("tracking_uid", sa.String(length=64), nullable=True),
        sa.Column("answer", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("lesion", sa.Text(), nullable=True),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("undoes", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_verdict_result_id_result"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_verdict_study_instance_uid_study"
        ),
        sa.ForeignKeyConstraint(["undoes"], ["verdict.verdict_id"], name="fk_verdict_undoes_verdict"),
        sa.PrimaryKeyConstraint("verdict_id", name="pk_verdict"),
        sa.UniqueConstraint("undoes", name="uq_verdict_undoes"),
    )
    op.create_index("ix_verdict_study_instance_uid", "verdict", ["study_instance_uid"])
    op.create_index("ix_verdict_given_at", "verdict", ["given_at"])


def downgrade() -> None:
    """Without it: the verdicts are lost."""
    op.drop_table("verdict")
