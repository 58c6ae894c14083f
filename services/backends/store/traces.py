"""Traces: of which one a study version, a result and a storage commitment are (W3C traceparents).

A version's is that of the association, or request, that opened it; a version that nobody sent gets it when it is
complete. It survives with the row: whoever works on it next goes on in the same trace.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store.tables import commitment, delivery, job, result, study_version
from services.triage.study import VersionKey
from services.triage.trace import VersionTrace


def of_version(connection: Connection, version: VersionKey) -> VersionTrace:
    """See `StudyStore.traced`."""
    rows = connection.execute(
        sa.select(study_version.c.number, study_version.c.traceparent).where(
            study_version.c.study_instance_uid == version.study_instance_uid,
            study_version.c.number.in_([version.number, version.number - 1]),
        )
    )
    found = {row.number: row.traceparent for row in rows}
    return VersionTrace(own=found.get(version.number), earlier=found.get(version.number - 1))


def of_job(connection: Connection, row: Any) -> str | None:
    """A job's own; one that an older program queued has that of its version."""
    if row.traceparent is not None:
        return str(row.traceparent)
    return of_version(connection, VersionKey(study_instance_uid=row.study_instance_uid, number=row.version)).own


def of_delivery(connection: Connection, row: Any) -> str | None:
    """Where its result was frozen; of a document of verdicts, that of the study's newest version."""
    if row.result_id is not None:
        found = connection.scalar(
            sa.select(sa.func.coalesce(result.c.traceparent, job.c.traceparent))
            .join(job, job.c.job_id == result.c.job_id)
            .where(result.c.result_id == row.result_id)
        )
        if found is not None:
            return str(found)
    newest = sa.select(study_version.c.traceparent).where(study_version.c.study_instance_uid == row.study_instance_uid)
    return connection.scalar(newest.order_by(study_version.c.number.desc()).limit(1))


def of_transaction(connection: Connection, transaction_uid: str) -> str | None:
    """That of the delivery whose commitment was asked for in this transaction."""
    row = connection.execute(
        sa.select(delivery.c.result_id, delivery.c.study_instance_uid)
        .join(commitment, commitment.c.delivery_id == delivery.c.delivery_id)
        .where(commitment.c.transaction_uid == transaction_uid)
    ).first()
    return None if row is None else of_delivery(connection, row)
