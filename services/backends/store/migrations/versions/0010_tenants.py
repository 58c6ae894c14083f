"""Whose a study is.

Older processes run on beside it: what they leave out has a default. They know of no tenants: name a file of tenants
once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out."""
    op.add_column("study", sa.Column("tenant", sa.Text(), server_default="", nullable=False))
    op.add_column("study", sa.Column("tenant_issuer", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Without it."""
    op.drop_column("study", "tenant_issuer")
    op.drop_column("study", "tenant")
