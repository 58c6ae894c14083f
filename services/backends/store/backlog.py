"""What waits for others: messages for the broker, jobs for a worker."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import job
from services.triage.job import Backlog, JobState


def backlog(connection: Connection, *, now: datetime) -> Backlog:
    """See `StudyStore.backlog`."""
    oldest = sa.select(sa.func.min(job.c.queued_at)).where(job.c.state == JobState.QUEUED)
    due = sa.or_(job.c.not_before.is_(None), job.c.not_before <= now)
    held = sa.exists().where(job.c.state == JobState.ANALYSING, job.c.lease_expires_at > now)
    return Backlog(
        owed_since=connection.scalar(oldest.where(job.c.outbox)),
        untaken_since=connection.scalar(oldest.where(due, ~held)),
    )
