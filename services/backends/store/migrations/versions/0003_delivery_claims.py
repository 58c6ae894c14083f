"""Deliveries are claimed, so that several processes send each once. Older processes run on beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Who sends it now, and until when that counts."""
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("claim", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("claim_expires_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Back to deliveries that any process may send."""
    with op.batch_alter_table("delivery") as table:
        table.drop_column("claim_expires_at")
        table.drop_column("claim")
