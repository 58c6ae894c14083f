"""Who each image is of, and which results were recalled.

Older processes run on beside it: what they leave out has a default. An older `deliver` would send a recalled result
along with its rejection note: switch the notes on once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that older code may leave out."""
    op.add_column("study", sa.Column("issuer_of_patient_id", sa.Text(), server_default="", nullable=False))
    op.add_column("instance", sa.Column("attributes", sa.Text(), nullable=True))
    op.add_column("study_version", sa.Column("images_since", sa.Integer(), nullable=True))
    op.add_column("study_version", sa.Column("rerun", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("board", sa.Column("already_reported", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("job", sa.Column("reconciles", sa.String(length=32), nullable=True))
    op.create_table(
        "recall",
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("recalled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_recall_result_id_result"),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_recall_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("result_id", name="pk_recall"),
    )
    op.add_column("result_object", sa.Column("note", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("note", sa.Boolean(), server_default=sa.false(), nullable=False))
        table.drop_constraint("uq_delivery_result_id_destination", type_="unique")
        table.create_unique_constraint("uq_delivery_result_id_destination_note", ["result_id", "destination", "note"])


def downgrade() -> None:
    """Without them."""
    op.execute("DELETE FROM delivery WHERE note")
    op.execute("DELETE FROM result_object WHERE note")
    with op.batch_alter_table("delivery") as table:
        table.drop_constraint("uq_delivery_result_id_destination_note", type_="unique")
        table.create_unique_constraint("uq_delivery_result_id_destination", ["result_id", "destination"])
        table.drop_column("note")
    op.drop_column("result_object", "note")
    op.drop_table("recall")
    op.drop_column("job", "reconciles")
    op.drop_column("board", "already_reported")
    op.drop_column("study_version", "rerun")
    op.drop_column("study_version", "images_since")
    op.drop_column("instance", "attributes")
    op.drop_column("study", "issuer_of_patient_id")
