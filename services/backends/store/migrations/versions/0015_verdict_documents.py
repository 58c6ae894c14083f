"""Verdicts as DICOM documents, and their deliveries.

Older processes run on beside it. An older `deliver` would take the delivery of such a document for one of nothing: say
`verdicts = true` in the file of destinations, which it does not know, once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The documents, who is owed one, and a delivery that is of a document and not of a result."""
    op.create_table(
        "verdict_document",
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("verdicts", sa.Integer(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_verdict_document_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("sop_instance_uid", name="pk_verdict_document"),
    )
    op.create_index("ix_verdict_document_study_instance_uid", "verdict_document", ["study_instance_uid"])
    op.create_table(
        "verdict_document_owed",
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("last_given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("authenticated", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"],
            ["study.study_instance_uid"],
            name="fk_verdict_document_owed_study_instance_uid_study",
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "reader", name="pk_verdict_document_owed"),
    )
    op.create_index("ix_verdict_document_owed_last_given_at", "verdict_document_owed", ["last_given_at"])
    with op.batch_alter_table("delivery") as table:
        table.add_column(sa.Column("verdict_document", sa.String(length=64), nullable=True))
        table.alter_column("result_id", existing_type=sa.String(length=32), nullable=True)
        table.create_foreign_key(
            "fk_delivery_verdict_document_verdict_document",
            "verdict_document",
            ["verdict_document"],
            ["sop_instance_uid"],
        )
        table.create_unique_constraint("uq_delivery_verdict_document_destination", ["verdict_document", "destination"])


def downgrade() -> None:
    """Without them: what was not sent of the documents is not sent any more."""
    documents = "SELECT delivery_id FROM delivery WHERE verdict_document IS NOT NULL"
    op.execute(f"DELETE FROM commitment WHERE delivery_id IN ({documents})")  # noqa: S608 - no words from outside
    op.execute("DELETE FROM delivery WHERE verdict_document IS NOT NULL")
    with op.batch_alter_table("delivery") as table:
        table.drop_constraint("uq_delivery_verdict_document_destination", type_="unique")
        table.drop_constraint("fk_delivery_verdict_document_verdict_document", type_="foreignkey")
        table.alter_column("result_id", existing_type=sa.String(length=32), nullable=False)
        table.drop_column("verdict_document")
    op.drop_table("verdict_document_owed")
    op.drop_table("verdict_document")
