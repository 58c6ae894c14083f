"""What of a result goes to a destination, and the Storage Commitment of it. Older processes run on beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out, and the transactions."""
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("objects", sa.Text(), nullable=True))
        table.add_column(sa.Column("transaction_uid", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("requests", sa.Integer(), server_default="0", nullable=False))
        table.add_column(sa.Column("uncommitted", sa.Text(), nullable=True))
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("instances", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.delivery_id"], name="fk_commitment_delivery_id"),
        sa.PrimaryKeyConstraint("transaction_uid", name="pk_commitment"),
    )
    op.create_index("ix_commitment_delivery_id", "commitment", ["delivery_id"])


def downgrade() -> None:
    """Without them: what was committed stays so, and is not proven any more."""
    op.drop_index("ix_commitment_delivery_id", table_name="commitment")
    op.drop_table("commitment")
    with op.batch_alter_table("delivery") as table:
        for name in ("uncommitted", "requests", "transaction_uid", "objects"):
            table.drop_column(name)
