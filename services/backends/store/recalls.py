"""Recalling a result: once, for good, with its rejection note where one was written."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import audit_events, deliveries, history, notifications, reviews, summary
from services.backends.store.engine import locked
from services.backends.store.frozen import recall_of
from services.backends.store.owed import may_have_arrived, owe, same
from services.backends.store.tables import delivery, job, recall, result, result_object
from services.triage.job import JobState
from services.triage.result import RECALLED, Recall, ResultObject


def enter(
    connection: Connection,
    result_id: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    note: tuple[ResultObject, str] | None,
) -> Recall | None:
    """See `StudyStore.recall`."""
    owner = connection.execute(
        sa.select(result.c.study_instance_uid, result.c.job_id).where(result.c.result_id == result_id)
    ).first()
    if owner is None:
        return None
    uid = owner.study_instance_uid
    locked(connection, [uid])
    if (earlier := recall_of(connection, result_id)) is not None:
        return earlier
    # a sender that would claim one of its deliveries now passes it over
    connection.execute(sa.select(delivery).where(delivery.c.result_id == result_id).with_for_update()).all()
    connection.execute(
        sa.insert(recall).values(
            result_id=result_id, study_instance_uid=uid, recalled_at=now, actor=actor, reason=reason
        )
    )
    lines = [history.line(uid, "job", owner.job_id, time=now, actor=actor, what="recalled", cause=reason)]
    history.write(connection, lines)
    if note is not None:
        _owe(connection, result_id, *note, now=now)
    notifications.owe_withdrawal(connection, result_id, actor=actor, now=now)
    deliveries.withdraw(connection, result_id, RECALLED, actor=actor, now=now)
    reviews.withdraw(connection, result_id, f"recalled: {reason}", actor=actor, now=now)
    _cancel(connection, result_id, actor=actor, now=now)
    summary.refresh(connection, uid)
    audit_events.recalled(connection, result_id, uid, reason=reason, actor=actor, now=now)
    return Recall(recalled_at=now, actor=actor, reason=reason)


def _owe(connection: Connection, result_id: str, note: ResultObject, sha256: str, *, now: datetime) -> None:
    """Owe the note to every destination that may have something of the result."""
    rows = connection.execute(
        sa.select(delivery).where(
            delivery.c.result_id == result_id,
            sa.not_(delivery.c.note),
            sa.not_(notifications.IS_NOTIFICATION),
            may_have_arrived(),
        )
    ).all()
    if not rows:
        return
    connection.execute(
        sa.insert(result_object).values(
            sop_instance_uid=note.sop_instance_uid,
            result_id=result_id,
            position=_objects(connection, result_id),
            modality=note.modality,
            sop_class_uid=note.sop_class_uid,
            series_instance_uid=note.series_instance_uid,
            sha256=sha256,
            size_bytes=len(note.content),
            note=True,
        )
    )
    for row in rows:
        owe(connection, created_at=now, actor="store", note=True, **same(row))


def _objects(connection: Connection, result_id: str) -> int:
    count = connection.scalar(sa.select(sa.func.count()).where(result_object.c.result_id == result_id))
    return int(count or 0)


def _cancel(connection: Connection, result_id: str, *, actor: str, now: datetime) -> None:
    """What would write the result again."""
    still_open = job.c.reconciles == result_id, job.c.state.in_([JobState.QUEUED, JobState.ANALYSING])
    for row in connection.execute(sa.select(job.c.job_id, job.c.study_instance_uid).where(*still_open)).all():
        connection.execute(
            sa.update(job)
            .where(job.c.job_id == row.job_id)
            .values(state=JobState.CANCELLED, outbox=False, lease_expires_at=None)
        )
        line = history.line(
            row.study_instance_uid,
            "job",
            row.job_id,
            time=now,
            actor=actor,
            what=JobState.CANCELLED,
            cause="its result was recalled",
        )
        history.write(connection, [line])
