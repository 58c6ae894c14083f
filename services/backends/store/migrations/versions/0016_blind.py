"""Results that are withheld until a reader has assessed the study, and the training of learners.

Older processes run on beside it, but know of nothing that is withheld: set VIGIE_BLIND once all are upgraded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of their own, and what a reader tells of an assessment."""
    op.add_column("verdict", sa.Column("assessment", sa.Text(), nullable=True))
    _blind_hold()


def _blind_hold() -> None:
    op.create_table(
        "blind_hold",
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end", sa.String(length=32), nullable=True),
        sa.Column("ended_by", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_blind_hold_result_id_result"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_blind_hold_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("result_id", name="pk_blind_hold"),
    )
    op.create_index("ix_blind_hold_study_instance_uid", "blind_hold", ["study_instance_uid"])
    op.create_index("ix_blind_hold_ended_at_until", "blind_hold", ["ended_at", "until"])


def downgrade() -> None:
    """Without them: what is withheld is shown, and it is lost which results were."""
    op.drop_table("blind_hold")
    with op.batch_alter_table("verdict") as table:
        table.drop_column("assessment")
