"""What of images is not kept here any more, and what is being deleted.

Older processes run on beside it while nothing is deleted: they do not know that images may be gone. Switch retention
on, and erase, once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Columns that older writers leave out, and tables of their own."""
    op.add_column("study", sa.Column("images_deleted_at", _TIME, nullable=True))
    op.create_index("ix_study_images_deleted_at_received_at", "study", ["images_deleted_at", "received_at"])
    op.add_column("instance", sa.Column("size_bytes", sa.BigInteger(), nullable=True))
    op.add_column("instance", sa.Column("deleted_at", _TIME, nullable=True))
    op.add_column("instance", sa.Column("came_again_at", _TIME, nullable=True))
    op.create_table(
        "deletion",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.Column("not_newer_than", _TIME, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_deletion_study_instance_uid"
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", name="pk_deletion"),
    )
    op.create_table(
        "retention",
        sa.Column("turn", sa.String(length=32), nullable=False),
        sa.Column("next_at", _TIME, nullable=False),
        sa.Column("claim", sa.String(length=32), nullable=True),
        sa.Column("claim_expires_at", _TIME, nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("deleted_studies", sa.BigInteger(), nullable=False),
        sa.Column("deleted_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("turn", name="pk_retention"),
    )


def downgrade() -> None:
    """Which images were deleted is lost: they then seem to be missing."""
    op.drop_table("retention")
    op.drop_table("deletion")
    op.drop_column("instance", "came_again_at")
    op.drop_column("instance", "deleted_at")
    op.drop_column("instance", "size_bytes")
    op.drop_index("ix_study_images_deleted_at_received_at", "study")
    op.drop_column("study", "images_deleted_at")
