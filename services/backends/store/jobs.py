"""Jobs: the outbox, leases and their tokens. Every step names its old state (and token) in the UPDATE's WHERE."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from services.backends.store import history, rollouts, summary, switches, tenancy, traces, versions
from services.backends.store.engine import locked
from services.backends.store.frozen import frozen_result
from services.backends.store.tables import job, result, result_object, study
from services.triage.errors import LeaseLost, Reason
from services.triage.job import Job, JobMessage, JobState, Lease, OrderPriority
from services.triage.lesion import Lesion
from services.triage.rollout import version_for
from services.triage.study import VersionKey

SR_MODALITY = "SR"


def unpublished(connection: Connection, *, limit: int) -> list[JobMessage]:
    """See `StudyStore.unpublished`. `attempt` is the token that a lease would give."""
    rows = connection.execute(
        sa.select(job.c.job_id, job.c.priority, job.c.token, job.c.traceparent)
        .where(job.c.state == JobState.QUEUED, job.c.outbox)
        .order_by(job.c.priority, job.c.queued_at, job.c.job_id)
        .limit(limit)
    )
    return [
        JobMessage(job_id=job_id, priority=OrderPriority(priority), attempt=token + 1, traceparent=traceparent)
        for job_id, priority, token, traceparent in rows
    ]


def published(connection: Connection, messages: Sequence[JobMessage]) -> None:
    """See `StudyStore.published`. A job leased and put back meanwhile has another token: it stays in the outbox."""
    for message in messages:
        connection.execute(
            sa.update(job)
            .where(job.c.job_id == message.job_id, job.c.token == message.attempt - 1)
            .values(outbox=False)
        )


def overdue(connection: Connection, *, now: datetime) -> list[sa.Row[tuple[str, str]]]:
    """Jobs (id, Study Instance UID) whose lease has run out, or that were postponed until now."""
    found = sa.select(job.c.job_id, job.c.study_instance_uid).where(sa.or_(_expired(now), _postponed_until(now)))
    return list(connection.execute(found))


def reissue(connection: Connection, *, now: datetime) -> int:
    """See `StudyStore.reissue`; also puts postponed jobs whose time has come back into the outbox."""
    expired, due = _expired(now), _postponed_until(now)
    candidates = overdue(connection, now=now)
    locked(connection, [row.study_instance_uid for row in candidates])
    count = 0
    for row in candidates:
        this = job.c.job_id == row.job_id
        connection.execute(sa.update(job).where(this, due).values(outbox=True, not_before=None))
        worker = connection.scalar(sa.select(job.c.worker).where(this, expired))
        if worker is None:
            continue
        connection.execute(
            sa.update(job)
            .where(this, expired)
            .values(state=JobState.QUEUED, outbox=True, worker=None, lease_expires_at=None)
        )
        _note(
            connection, row.study_instance_uid, row.job_id, now, "store", JobState.QUEUED, f"lease of {worker} ran out"
        )
        summary.refresh(connection, row.study_instance_uid)
        count += 1
    return count


def _expired(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(job.c.state == JobState.ANALYSING, job.c.lease_expires_at <= now)


def _postponed_until(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(job.c.state == JobState.QUEUED, job.c.not_before <= now)


def lease_next(connection: Connection, *, worker: str, now: datetime, duration: timedelta) -> tuple[Lease, Job] | None:
    """See `StudyStore.lease_next`. Studies that others change at this moment are passed over, not waited for."""
    first = (
        sa.select(job.c.job_id, job.c.study_instance_uid)
        .join(study, study.c.study_instance_uid == job.c.study_instance_uid)
        .where(*_due(now))
        .order_by(job.c.rank)
        .limit(1)
        .with_for_update(of=study, key_share=True, skip_locked=True)
    )
    while (found := connection.execute(first).first()) is not None:
        taken = take(connection, found.job_id, found.study_instance_uid, worker=worker, now=now, duration=duration)
        if taken is not None:
            return taken
        # somebody took it just before its study was ours: look again
    return None


def take(
    connection: Connection, job_id: str, uid: str, *, worker: str, now: datetime, duration: timedelta
) -> tuple[Lease, Job] | None:
    """Lease one job of a locked study; None when it is not due."""
    taken = connection.execute(
        sa.update(job)
        .where(job.c.job_id == job_id, *_due(now))
        .values(
            state=JobState.ANALYSING,
            outbox=False,
            not_before=None,
            attempt=job.c.attempt + 1,
            token=job.c.token + 1,
            worker=worker,
            lease_expires_at=now + duration,
        )
    )
    if taken.rowcount == 0:
        return None
    _choose_version(connection, job_id, uid)
    row = connection.execute(sa.select(job).where(job.c.job_id == job_id)).one()
    by = f", version {row.model_version}" if row.model_version else ""
    _note(connection, uid, job_id, now, worker, JobState.ANALYSING, f"attempt {row.attempt}{by}")
    summary.refresh(connection, uid)
    given = Lease(job_id=job_id, token=row.token, worker=worker, expires_at=now + duration)
    return given, job_of(connection, row)


def _choose_version(connection: Connection, job_id: str, uid: str) -> None:
    """By what is decided now: an attempt ends with the version that it began with, the next may have another."""
    this = job.c.job_id == job_id
    model_name = connection.scalar(sa.select(job.c.model_name).where(this, job.c.reconciles.is_(None)))
    if model_name is None:
        return
    off = switches.off_for(connection, model_name, tenancy.tenant_of(connection, uid))
    version = version_for(rollouts.rollout_of(connection, model_name), uid, off=off)
    connection.execute(sa.update(job).where(this).values(model_version=version))


def _due(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return job.c.state == JobState.QUEUED, sa.or_(job.c.not_before.is_(None), job.c.not_before <= now)


def renew(connection: Connection, lease: Lease, *, now: datetime, duration: timedelta) -> Lease:
    """See `StudyStore.renew`."""
    expires_at = now + duration
    guarded_update(connection, lease, {"lease_expires_at": expires_at})
    return replace(lease, expires_at=expires_at)


def postpone(
    connection: Connection, lease: Lease, reason: Reason, *, now: datetime, until: datetime, counts: bool
) -> None:
    """See `StudyStore.postpone`."""
    uid = study_of(connection, lease.job_id)
    locked(connection, [uid] if uid else [])
    values: dict[str, Any] = {
        "state": JobState.QUEUED,
        "outbox": False,
        "not_before": until,
        "worker": None,
        "lease_expires_at": None,
    }
    if not counts:
        values["attempt"] = job.c.attempt - 1  # the token stays: it tells one lease from another
    guarded_update(connection, lease, values)
    if uid is not None:
        _note(connection, uid, lease.job_id, now, lease.worker, "postponed", f"{reason.text} [{reason.code}]")
        summary.refresh(connection, uid)


def guarded_update(connection: Connection, lease: Lease, values: dict[str, Any]) -> None:
    """Change a job that this lease still holds. Raises LeaseLost."""
    done = connection.execute(
        sa.update(job)
        .where(job.c.job_id == lease.job_id, job.c.state == JobState.ANALYSING, job.c.token == lease.token)
        .values(values)
    )
    if done.rowcount == 0:
        raise LeaseLost(f"job {lease.job_id}: token {lease.token} is no longer the job's")


def study_of(connection: Connection, job_id: str) -> str | None:
    """The Study Instance UID of a job."""
    return connection.scalar(sa.select(job.c.study_instance_uid).where(job.c.job_id == job_id))


def job_of(connection: Connection, row: sa.Row[Any]) -> Job:
    """All that a worker needs of a job."""
    version = VersionKey(study_instance_uid=row.study_instance_uid, number=row.version)
    attributes = versions.study_attributes(connection, row.study_instance_uid)
    if attributes is None:
        raise LookupError(row.study_instance_uid)  # the foreign key forbids it
    tenant = tenancy.tenant_of(connection, row.study_instance_uid)
    return Job(
        job_id=row.job_id,
        version=version,
        plan=row.plan,
        priority=OrderPriority(row.priority),
        attempt=row.attempt,
        study=attributes,
        instances=versions.instances(connection, version),
        predecessors=_predecessors(connection, row),
        earlier_lesions=_earlier_lesions(connection, row),
        reconciles=frozen_result(connection, row.reconciles) if row.reconciles else None,
        traceparent=traces.of_job(connection, row),
        tenant=tenant,
        switched_off=switches.off_for(connection, row.model_name, tenant),
        model_version=row.model_version,
    )


def _predecessors(connection: Connection, row: sa.Row[Any]) -> tuple[str, ...]:
    """The SR documents, by SHA-256, of the newest result of the same model for an earlier version that has any."""
    is_document = result_object.c.result_id == result.c.result_id, result_object.c.modality == SR_MODALITY
    with_documents = _earlier_results(row, result.c.result_id).where(sa.exists().where(*is_document))
    earlier = connection.scalar(with_documents.limit(1))
    documents = (
        sa.select(result_object.c.sha256)
        .where(result_object.c.result_id == earlier, result_object.c.modality == SR_MODALITY)
        .order_by(result_object.c.position)
    )
    return tuple(connection.scalars(documents))


def _earlier_lesions(connection: Connection, row: sa.Row[Any]) -> tuple[Lesion, ...]:
    """Of all frozen results of the same model for earlier versions; each lesion as the newest of them has it."""
    newest: dict[str, Lesion] = {}
    for lesions in connection.scalars(_earlier_results(row, result.c.lesions)):
        for lesion in lesions:
            newest.setdefault(lesion.tracking_uid, lesion)
    return tuple(newest.values())


def _earlier_results(row: sa.Row[Any], column: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """A column of the frozen results of the same model for earlier versions, newest first."""
    return (
        sa.select(column)
        .where(
            result.c.study_instance_uid == row.study_instance_uid,
            result.c.model_name == row.model_name,
            result.c.version < row.version,
        )
        .order_by(result.c.version.desc(), result.c.frozen_at.desc())
    )


def _note(connection: Connection, uid: str, job_id: str, now: datetime, actor: str, what: str, cause: str) -> None:
    history.write(connection, [history.line(uid, "job", job_id, time=now, actor=actor, what=what, cause=cause)])
