"""Notifications are deliveries that keep their order within a study. Older processes run on beside it.

An older `deliver` has no receivers, so it takes none of their deliveries.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEX = "ix_delivery_study_instance_uid_destination_created_at"


def upgrade() -> None:
    """What one receiver is told of one study, in order."""
    op.create_index(_INDEX, "delivery", ["study_instance_uid", "destination", "created_at"])


def downgrade() -> None:
    """Without notifications: an older program would take them for deliveries of objects."""
    op.execute("DELETE FROM delivery WHERE kind IN ('hl7', 'fhir', 'webhook')")
    op.drop_index(_INDEX, "delivery")
