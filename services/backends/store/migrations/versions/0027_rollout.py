"""Which version of a model looks at what, and what shadows say.

Older processes run on beside it: to them the catalogue's standing version is the only one. Decide on a roll-out once
all workers are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0024"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """A column that older writers leave out, and tables of their own."""
    op.add_column("job", sa.Column("model_version", sa.Text(), nullable=True))
    op.create_table(
        "model_rollout",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("active", sa.Text(), nullable=True),
        sa.Column("canary", sa.Text(), nullable=True),
        sa.Column("canary_share", sa.Float(), nullable=True),
        sa.Column("shadow", sa.Text(), nullable=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_rollout"),
    )
    op.create_index("ix_model_rollout_model_name_id", "model_rollout", ["model_name", "id"])
    op.create_table(
        "shadow_run",
        sa.Column("shadow_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("owed_at", _TIME, nullable=False),
        sa.Column("not_before", _TIME, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("weights_sha256", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("flag", sa.String(length=32), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("lesions", sa.Integer(), nullable=True),
        sa.Column("timings_s", sa.Text(), nullable=True),
        sa.Column("peak_memory_mb", sa.Float(), nullable=True),
        sa.Column("energy_j", sa.Float(), nullable=True),
        sa.Column("energy_source", sa.String(length=32), nullable=True),
        sa.Column("dice", sa.Float(), nullable=True),
        sa.Column("lesions_both", sa.Integer(), nullable=True),
        sa.Column("lesions_answer_only", sa.Integer(), nullable=True),
        sa.Column("lesions_shadow_only", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_shadow_run_result_id"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_shadow_run_study_instance_uid"
        ),
        sa.PrimaryKeyConstraint("shadow_id", name="pk_shadow_run"),
        sa.UniqueConstraint("result_id", "model_version", name="uq_shadow_run_result_id_model_version"),
    )
    op.create_index("ix_shadow_run_study_instance_uid", "shadow_run", ["study_instance_uid"])
    op.create_index("ix_shadow_run_state_owed_at", "shadow_run", ["state", "owed_at"])
    op.create_index("ix_shadow_run_model_name_owed_at", "shadow_run", ["model_name", "owed_at"])


def downgrade() -> None:
    """Without it: every study is looked at by the standing version, and what shadows said is lost."""
    op.drop_table("shadow_run")
    op.drop_table("model_rollout")
    op.drop_column("job", "model_version")
