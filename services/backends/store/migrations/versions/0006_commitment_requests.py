"""Requests for Storage Commitment that others make to us. Older processes run on beside it, and serve none."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tables of their own."""
    op.create_table(
        "commitment_request",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("reason_text", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_commitment_request"),
    )
    op.create_index(
        "ix_commitment_request_calling_ae_title_state_next_at",
        "commitment_request",
        ["calling_ae_title", "state", "next_at"],
    )
    op.create_table(
        "requested_instance",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("decided", sa.Boolean(), nullable=False),
        sa.Column("failure_reason", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["transaction_uid"], ["commitment_request.transaction_uid"], name="fk_requested_instance_transaction_uid"
        ),
        sa.PrimaryKeyConstraint("transaction_uid", "position", name="pk_requested_instance"),
    )
    op.create_index("ix_requested_instance_sop_instance_uid", "requested_instance", ["sop_instance_uid"])
    op.create_table(
        "archive_inquiry",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("request_uid", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_uid"], ["commitment_request.transaction_uid"], name="fk_archive_inquiry_request_uid"
        ),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_archive_inquiry"),
        sa.UniqueConstraint("request_uid", "number", name="uq_archive_inquiry_request_uid_number"),
    )


def downgrade() -> None:
    """Without them: who asked hears no more."""
    op.drop_table("archive_inquiry")
    op.drop_index("ix_requested_instance_sop_instance_uid", table_name="requested_instance")
    op.drop_table("requested_instance")
    op.drop_index("ix_commitment_request_calling_ae_title_state_next_at", table_name="commitment_request")
    op.drop_table("commitment_request")
