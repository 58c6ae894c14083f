"""What HL7 ADT says of patients, and which studies name them.

Older processes run on beside it, but a worker of before would write results under the patient data in the images, and a
gateway of before does not note whose its images are: switch HL7 on once all are new.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.String(length=64)


def upgrade() -> None:
    """New tables, and whose the images are that are here."""
    op.add_column("instance", sa.Column("reconciled", sa.Text(), nullable=True))
    op.create_table(
        "study_patient",
        sa.Column("study_instance_uid", _ID, nullable=False),
        sa.Column("patient_id", _ID, nullable=False),
        sa.Column("issuer", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["study.study_instance_uid"], name="fk_study_patient_study_instance_uid_study"
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "patient_id", "issuer", name="pk_study_patient"),
    )
    op.create_index("ix_study_patient_patient_id", "study_patient", ["patient_id"])
    op.create_table(
        "patient",
        sa.Column("patient_id", _ID, nullable=False),
        sa.Column("issuer", _ID, nullable=False),
        sa.Column("patient_name", sa.Text(), nullable=True),
        sa.Column("patient_birth_date", sa.Text(), nullable=True),
        sa.Column("patient_sex", sa.Text(), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_by", sa.Text(), nullable=True),
        sa.Column("merged_into_id", _ID, nullable=True),
        sa.Column("merged_into_issuer", _ID, nullable=True),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("merged_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("patient_id", "issuer", name="pk_patient"),
    )
    op.create_index("ix_patient_merged_into_id", "patient", ["merged_into_id"])
    op.create_table(
        "adt_count",
        sa.Column("trigger_event", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trigger_event", "outcome", name="pk_adt_count"),
    )
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    told = "CAST(attributes AS json) ->> '{}'" if is_postgresql else "json_extract(attributes, '$.{}')"
    op.execute(
        f"""
        INSERT INTO study_patient (study_instance_uid, patient_id, issuer)
        SELECT study_instance_uid, patient_id, issuer FROM (
            SELECT study_instance_uid, {told.format("patient_id")} AS patient_id,
                coalesce({told.format("issuer_of_patient_id")}, '') AS issuer
            FROM instance WHERE attributes IS NOT NULL
            UNION SELECT study_instance_uid, patient_id, issuer_of_patient_id FROM study
        ) AS named
        WHERE patient_id <> '' AND length(patient_id) <= 64 AND length(issuer) <= 64
        """  # noqa: S608 - our own words
    )


def downgrade() -> None:
    """Without them: results are written under the patient data in the images again."""
    op.drop_table("adt_count")
    op.drop_table("patient")
    op.drop_table("study_patient")
    op.drop_column("instance", "reconciled")
