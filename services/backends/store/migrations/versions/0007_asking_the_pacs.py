"""Asking the PACS: what it said of a version, what MPPS and IAN announce, and reconciliations.

Older processes run on beside it: they neither ask nor wait, and complete a study after the quiet period.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """New tables, and a column that older code may leave out."""
    op.add_column("study_version", sa.Column("completed_on", sa.String(length=32), nullable=True))
    op.create_table(
        "inquiry",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid", "number"],
            ["study_version.study_instance_uid", "study_version.number"],
            name="fk_inquiry_study_instance_uid_number_study_version",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "number", name="pk_inquiry"),
    )
    op.create_table(
        "announcement",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("announcer", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("received_from", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sop_instance_uid", "study_instance_uid", name="pk_announcement"),
    )
    op.create_index("ix_announcement_study_instance_uid", "announcement", ["study_instance_uid"])
    op.create_index("ix_announcement_received_at", "announcement", ["received_at"])
    op.create_table(
        "reconciliation",
        sa.Column("pacs", sa.Text(), nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day", sa.String(length=32), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("studies", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("incomplete", sa.Integer(), nullable=False),
        sa.Column("fetched", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("pacs", name="pk_reconciliation"),
    )


def downgrade() -> None:
    """Without them."""
    op.drop_table("reconciliation")
    op.drop_table("announcement")
    op.drop_table("inquiry")
    op.drop_column("study_version", "completed_on")
