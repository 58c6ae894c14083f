"""For `lease_next`: the order of work; the trace of a job; and which programs the tables are for."""

from datetime import UTC, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AGEING = timedelta(minutes=30)  # as `triage.job.AGEING` was then


def upgrade() -> None:
    """Columns that older code may leave out, and a rank for the jobs that wait."""
    compatibility = op.create_table(
        "compatibility",
        sa.Column("oldest_revision", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("oldest_revision", name="pk_compatibility"),
    )
    op.bulk_insert(compatibility, [{"oldest_revision": "0001"}])
    op.add_column("job", sa.Column("rank", sa.Float(), server_default="0", nullable=False))
    op.add_column("job", sa.Column("traceparent", sa.Text(), nullable=True))
    _rank_open_jobs()
    op.create_index("ix_job_state_rank", "job", ["state", "rank"])


def _rank_open_jobs() -> None:
    job = sa.table(
        "job",
        sa.column("job_id", sa.String),
        sa.column("state", sa.String),
        sa.column("priority", sa.Integer),
        sa.column("queued_at", sa.DateTime(timezone=True)),
        sa.column("rank", sa.Float),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.select(job).where(job.c.state.in_(["queued", "analysing"]))).all()
    for row in rows:
        queued_at = row.queued_at if row.queued_at.tzinfo else row.queued_at.replace(tzinfo=UTC)
        rank = (queued_at + row.priority * _AGEING).timestamp()
        connection.execute(sa.update(job).where(job.c.job_id == row.job_id).values(rank=rank))


def downgrade() -> None:
    """Without them."""
    op.drop_index("ix_job_state_rank", table_name="job")
    for name in ("traceparent", "rank"):
        op.drop_column("job", name)
    op.drop_table("compatibility")
