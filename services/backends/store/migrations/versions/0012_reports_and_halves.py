"""What a destination took before its association broke, and which Segmentation a report names.

Older processes run on beside it. An older `deliver` sends all of a delivery again after a break, and every report of a
result to every destination: ask for LABELMAP, or for SR without SEG, once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out."""
    op.add_column("delivery", sa.Column("taken", sa.Text(), nullable=True))
    op.add_column("result_object", sa.Column("names", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Without them."""
    op.drop_column("result_object", "names")
    op.drop_column("delivery", "taken")
