"""Who each image is of. Older processes run on beside it: what they leave out has a default."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out."""
    op.add_column("study", sa.Column("issuer_of_patient_id", sa.Text(), server_default="", nullable=False))
    op.add_column("instance", sa.Column("attributes", sa.Text(), nullable=True))
    op.add_column("study_version", sa.Column("images_since", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("reconciles", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Without them."""
    op.drop_column("job", "reconciles")
    op.drop_column("study_version", "images_since")
    op.drop_column("instance", "attributes")
    op.drop_column("study", "issuer_of_patient_id")
