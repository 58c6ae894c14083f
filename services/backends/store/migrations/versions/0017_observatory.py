"""What the observatory counts by, what it found last, and the energy of an analysis.

Older processes run on beside it: they freeze without traits, which are filled in when the observatory looks.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that may be NULL, and tables of its own."""
    op.add_column("result", sa.Column("energy_j", sa.Float(), nullable=True))
    op.add_column("result", sa.Column("energy_source", sa.String(length=32), nullable=True))
    op.create_index("ix_result_frozen_at", "result", ["frozen_at"])
    op.create_table(
        "result_traits",
        sa.Column("result_id", sa.String(length=32), nullable=False),
        sa.Column("sex", sa.Text(), nullable=False),
        sa.Column("age_years", sa.Integer(), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=False),
        sa.Column("manufacturer_model_name", sa.Text(), nullable=False),
        sa.Column("convolution_kernel", sa.Text(), nullable=False),
        sa.Column("slice_thickness_mm", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.result_id"], name="fk_result_traits_result_id_result"),
        sa.PrimaryKeyConstraint("result_id", name="pk_result_traits"),
    )
    op.create_table(
        "observation",
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", "model_version", name="pk_observation"),
    )
    op.create_table(
        "observing",
        sa.Column("turn", sa.String(length=32), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("turn", name="pk_observing"),
    )


def downgrade() -> None:
    """Without them: traits and figures can be made again, energy is lost."""
    for table in ("observing", "observation", "result_traits"):
        op.drop_table(table)
    op.drop_index("ix_result_frozen_at", "result")
    with op.batch_alter_table("result") as batch:
        batch.drop_column("energy_source")
        batch.drop_column("energy_j")
