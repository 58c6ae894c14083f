"""How many callers the doors turned away.

Older processes run on beside it, and count nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own."""
    op.create_table(
        "caller_refusal",
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("total", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("reason", name="pk_caller_refusal"),
    )


def downgrade() -> None:
    """The counts are lost."""
    op.drop_table("caller_refusal")
