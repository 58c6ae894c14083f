"""Models that are switched off, recalls of a period, and what signs and ends sessions.

Older processes run on beside it: they know nothing of it, and go on sending for a model that is switched off.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _scope() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in ("model_name", "model_version", "tenant")]


def upgrade() -> None:
    """Tables of their own, and an index by which the results of a model are found."""
    op.create_table(
        "model_switch",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        *_scope(),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("kept", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_model_switch"),
    )
    op.create_table(
        "model_off",
        *_scope(),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", "model_version", "tenant", name="pk_model_off"),
    )
    op.create_table(
        "recall_campaign",
        sa.Column("campaign_id", sa.String(length=32), nullable=False),
        *_scope(),
        sa.Column("frozen_since", _TIME, nullable=True),
        sa.Column("frozen_until", _TIME, nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("campaign_id", name="pk_recall_campaign"),
    )
    op.create_index("ix_recall_campaign_finished_at", "recall_campaign", ["finished_at"])
    op.create_table(
        "kept_secret",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_kept_secret"),
    )
    op.create_table(
        "ended_session",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("forget_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_ended_session"),
    )
    op.create_index("ix_result_model_name_frozen_at", "result", ["model_name", "frozen_at"])


def downgrade() -> None:
    """Without it: every model is on, and everybody has to sign in anew."""
    op.drop_index("ix_result_model_name_frozen_at", "result")
    for table in ("ended_session", "kept_secret", "recall_campaign", "model_off", "model_switch"):
        op.drop_table(table)
