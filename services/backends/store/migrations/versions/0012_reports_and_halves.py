"""What a destination took before its association broke, which Segmentation a report names, when a study was flagged.

Older processes run on beside it. An older `deliver` sends all of a delivery again after a break, and every report of a
result to every destination: ask for LABELMAP, or for SR without SEG, once all are new. A study that changes last in an
older process has no time to flag.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out."""
    op.add_column("delivery", sa.Column("taken", sa.Text(), nullable=True))
    op.add_column("result_object", sa.Column("names", sa.String(length=32), nullable=True))
    for name in ("flagged_at", "first_image_at", "last_image_at"):
        op.add_column("board", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_board_flagged_at", "board", ["flagged_at"])


def downgrade() -> None:
    """Without them."""
    op.drop_index("ix_board_flagged_at", table_name="board")
    for name in ("last_image_at", "first_image_at", "flagged_at"):
        op.drop_column("board", name)
    op.drop_column("result_object", "names")
    op.drop_column("delivery", "taken")
