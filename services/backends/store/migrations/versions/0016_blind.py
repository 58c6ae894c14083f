"""Results that are withheld until a reader has assessed the study, and the training of learners.

Older processes run on beside it, but know of nothing that is withheld: set VIGIE_BLIND once all are upgraded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of their own, and what a reader tells of an assessment."""
    op.add_column("verdict", sa.Column("assessment", sa.Text(), nullable=True))
    _blind_hold()
    _training()


def _blind_hold() -> None:
    op.create_table(
        "blind_hold",
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_how", sa.String(length=32), nullable=True),
        sa.Column("ended_by", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_blind_hold_result_id_result"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_blind_hold_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("result_id", name="pk_blind_hold"),
    )
    op.create_index("ix_blind_hold_study_instance_uid", "blind_hold", ["study_instance_uid"])
    op.create_index("ix_blind_hold_ended_at_until", "blind_hold", ["ended_at", "until"])


def _training() -> None:
    op.create_table(
        "training_round",
        sa.Column("round_id", sa.String(length=32), nullable=False),
        sa.Column("learner", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("mix", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("round_id", name="pk_training_round"),
    )
    op.create_index("ix_training_round_learner", "training_round", ["learner"])
    op.create_table(
        "training_case",
        sa.Column("round_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("truth", sa.String(length=32), nullable=False),
        sa.Column("answer", sa.String(length=32), nullable=True),
        sa.Column("confidence", sa.String(length=32), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_training_case_result_id_result"),
        sa.ForeignKeyConstraint(
            ["round_id"], ["training_round.round_id"], name="fk_training_case_round_id_training_round"
        ),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_training_case_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("round_id", "position", name="pk_training_case"),
        sa.UniqueConstraint("name", name="uq_training_case_name"),
    )
    op.create_table(
        "training_check",
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("exclusion", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_training_check_result_id_result"),
        sa.PrimaryKeyConstraint("result_id", name="pk_training_check"),
    )


def downgrade() -> None:
    """Without them: what is withheld is shown, and it is lost which results were, and what learners answered."""
    for table in ("training_check", "training_case", "training_round", "blind_hold"):
        op.drop_table(table)
    with op.batch_alter_table("verdict") as changed:
        changed.drop_column("assessment")
