"""In what the images of a result are unlike those that its model was made for.

Older processes run on beside it: what they write has none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column that may be NULL: no caution."""
    op.add_column("result", sa.Column("cautions", sa.Text(), nullable=True))


def downgrade() -> None:
    """Cautions are then told by the reports alone."""
    with op.batch_alter_table("result") as batch:
        batch.drop_column("cautions")
