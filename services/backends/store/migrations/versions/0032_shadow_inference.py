"""How the network of a shadow ran, as a result tells it since 0030.

Older processes run on beside it: what they write has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be NULL: no network has looked."""
    op.add_column("shadow_run", sa.Column("inference", sa.Text(), nullable=True))


def downgrade() -> None:
    """It is then told nowhere."""
    with op.batch_alter_table("shadow_run") as batch:
        batch.drop_column("inference")
