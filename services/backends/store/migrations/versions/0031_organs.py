"""How large the organs are that the model of a result segments beside lesions.

Older processes run on beside it: what they write has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be NULL: the model has no organ classes, or did not look."""
    op.add_column("result", sa.Column("organs", sa.Text(), nullable=True))


def downgrade() -> None:
    """They are then told by the reports alone."""
    with op.batch_alter_table("result") as batch:
        batch.drop_column("organs")
