"""How the network of a result ran: the reference or the fast mode, and what kept it from the fast one.

Older processes run on beside it: what they write has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be NULL: no network has looked."""
    op.add_column("result", sa.Column("inference", sa.Text(), nullable=True))


def downgrade() -> None:
    """It is then told by the objects alone."""
    with op.batch_alter_table("result") as batch:
        batch.drop_column("inference")
