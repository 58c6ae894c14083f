"""How the score of a result varies over mirrored runs, or why that is not known.

Older processes run on beside it: what they write has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be NULL: it was not asked for."""
    op.add_column("result", sa.Column("uncertainty", sa.Text(), nullable=True))


def downgrade() -> None:
    """It is then told by the reports alone."""
    with op.batch_alter_table("result") as batch:
        batch.drop_column("uncertainty")
